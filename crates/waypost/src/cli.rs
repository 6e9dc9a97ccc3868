//! The command line: every command, flag and example.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::destination::{BatchesArgument, DestinationCommand};
use crate::commands::doctor::DoctorArguments;
use crate::commands::import::ImportCommand;
use crate::commands::listen::ListenArguments;
use crate::commands::ping::PingArguments;
use crate::commands::quarantine::QuarantineCommand;
use crate::commands::route::RouteCommand;
use crate::commands::source::SourceCommand;
use crate::commands::tail::TailArguments;
use crate::commands::token::TokenCommand;

/// A self-hosted gateway between WhatsApp's webhooks and whatever handles the conversations.
#[derive(Parser, Debug)]
#[command(name = "waypost", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server a command speaks to.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServerArguments {
    /// The data directory: the store of `serve`, and the socket through which other commands reach it
    #[arg(long, value_name = "DIR", env = "WAYPOST_DATA", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// The server's admin address, such as http://127.0.0.1:9090, instead of its socket
    #[arg(long, value_name = "URL", env = "WAYPOST_API", global = true)]
    pub(crate) api: Option<String>,
    /// The admin token that goes with --api (the server keeps it in DIR/admin-token)
    #[arg(long, value_name = "T", env = "WAYPOST_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the gateway
    #[command(
        after_help = "Example:\n  waypost serve --allow chatwoot.example.com\n  waypost serve --config /etc/waypost/waypost.toml"
    )]
    Serve(ServeArguments),
    /// Let the program that stands on disk now go on in the running one's place, without a lost call
    #[command(after_help = "Example:\n  waypost upgrade\n  waypost upgrade --data /var/lib/waypost")]
    Upgrade {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch the whole thing on one screen: gateway, a receiver that fails for a while, a stand-in for Meta
    #[command(after_help = "Example:\n  waypost demo\n  waypost demo --for 20s")]
    Demo(DemoArguments),
    /// Validate a configuration, touching nothing
    #[command(after_help = "Example:\n  waypost check --config waypost.toml")]
    Check(CheckArguments),
    /// The allow-list of a running gateway
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// The inbound addresses of a running gateway, one callback URL each
    #[command(subcommand)]
    Source(SourceCommand),
    /// The receivers that routes lead to
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Which events of a source go to which destinations
    #[command(subcommand)]
    Route(RouteCommand),
    /// Events that no route took
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Send a destination a signed test event, and say what it answers
    #[command(
        after_help = "Example:\n  waypost ping support\n  waypost ping chatwoot.example.com --path /webhooks/whatsapp/%2B15551234567"
    )]
    Ping(PingArguments),
    /// What came in, and what became of it
    #[command(subcommand)]
    Events(EventsCommand),
    /// What is owed to whom, and how it stands
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Deliveries that are not tried again by themselves
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Deliver again what had ended, in bulk
    #[command(
        after_help = "Example:\n  waypost replay --since 2h --destination chatwoot.example.com --plan\n  waypost replay --since 2h --destination chatwoot.example.com"
    )]
    Replay(ReplayArguments),
    /// Hold everything owed to a destination
    #[command(after_help = "Example:\n  waypost pause chatwoot.example.com")]
    Pause {
        /// Its name
        destination: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let go what was held
    #[command(after_help = "Example:\n  waypost resume chatwoot.example.com")]
    Resume {
        /// Its name
        destination: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring what comes in to a program on this machine, as it came or normalised; goes on where it stopped
    #[command(
        after_help = "Example:\n  waypost listen --forward-to http://localhost:3000/webhook --secret env:MY_APP_SECRET\n  waypost listen --forward-to http://localhost:3000/events --normalised --type 'message:*' --since oldest"
    )]
    Listen(Box<ListenArguments>),
    /// Watch events as they come; what people write is masked unless asked for
    #[command(
        after_help = "Example:\n  waypost tail\n  waypost tail --type 'message:*' --number 15551234567 --content\n  waypost tail --since oldest --json"
    )]
    Tail(Box<TailArguments>),
    /// Who may read the real-time stream of a running gateway
    #[command(subcommand)]
    Token(TokenCommand),
    /// Send a signed synthetic webhook
    #[command(
        after_help = "Example:\n  waypost trigger text --to http://127.0.0.1:8080/chatwoot.example.com/webhooks/whatsapp/%2B15551234567 --secret env:META_APP_SECRET\n  waypost trigger status.read --count 100 --rate 20 --to URL\n  waypost trigger text --print\n  waypost trigger --list"
    )]
    Trigger(TriggerArguments),
    /// Find out why messages do not come: on this server, or at a callback address as Meta calls it
    #[command(
        after_help = "Example:\n  waypost doctor --config /etc/waypost/waypost.toml\n  waypost doctor https://proxy.example.com/chatwoot.example.com/webhooks/whatsapp/%2B15551234567 --verify-token env:META_VERIFY_TOKEN"
    )]
    Doctor(Box<DoctorArguments>),
    /// Make a waypost.toml of the configuration of what stood here before
    #[command(subcommand)]
    Import(ImportCommand),
    /// Shell completions
    #[command(after_help = "Example:\n  waypost completions bash > /etc/bash_completion.d/waypost")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages, for a package
    #[command(hide = true, after_help = "Example:\n  waypost manual target/man")]
    Manual {
        /// The folder to write to
        folder: PathBuf,
    },
}

/// What `serve` and `check` read the configuration from.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct ServeArguments {
    /// The configuration file; without one, flags and variables say everything
    #[arg(long, value_name = "F")]
    pub(crate) config: Option<PathBuf>,
    /// Allow a receiver: https://HOST, or really at ORIGIN; repeatable
    #[arg(long, value_name = "HOST[=ORIGIN]")]
    pub(crate) allow: Vec<String>,
    /// Where to serve plain HTTP [default without file and domain: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Where to serve health, metrics and the API [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// End by itself after so long, and fail if anything was lost
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) for_: Option<Duration>,
    /// Webhooks a second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rate: u32,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) serve: ServeArguments,
    /// Print findings as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum UpstreamCommand {
    /// Allow a receiver, live
    #[command(
        after_help = "Example:\n  waypost upstream add chatwoot.newclient.com\n  waypost upstream add chatwoot.newclient.com --origin https://10.0.0.7:8443 --ca-file /etc/waypost/ca.pem"
    )]
    Add(UpstreamAddArguments),
    /// Take a receiver off the allow-list, live; what it is owed is kept
    #[command(after_help = "Example:\n  waypost upstream remove chatwoot.newclient.com")]
    Remove {
        /// The host as on the allow-list
        host: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the receivers that are allowed, and how they are doing
    #[command(after_help = "Example:\n  waypost upstream list --json")]
    List {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct UpstreamAddArguments {
    /// The host as callers will write it, with its port if it has one
    pub(crate) host: String,
    /// Where it really is, such as https://10.0.0.7:8443 [default: https://HOST]
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Option<String>,
    /// Store first and answer 200, or pass the call through
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArgument>,
    /// A path prefix that is let through; repeatable [default: every path]
    #[arg(long = "path", value_name = "PREFIX")]
    pub(crate) paths: Vec<String>,
    /// A PEM file, on the server, with extra trust for its certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// An app secret that proves callers: env:NAME or file:PATH on the server, or the secret itself; repeatable
    #[arg(long = "app-secret", value_name = "SECRET")]
    pub(crate) app_secrets: Vec<String>,
    /// The verify token, to answer the handshake here: env:NAME, file:PATH, or the token itself
    #[arg(long, value_name = "TOKEN")]
    pub(crate) verify_token: Option<String>,
    /// One event at a time, or requests as they came [default: whole]
    #[arg(long, value_enum)]
    pub(crate) batches: Option<BatchesArgument>,
    /// Sign single events with this: env:NAME or file:PATH on the server, the secret itself, or none [default: the app secret]
    #[arg(long, value_name = "SECRET")]
    pub(crate) sign_with: Option<String>,
    /// Let it be at a private, loopback or link-local address
    #[arg(long)]
    pub(crate) allow_private: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum ModeArgument {
    /// Make durable, answer 200, deliver after
    Store,
    /// Pass the call through
    Relay,
}

#[derive(Subcommand, Debug)]
pub(crate) enum EventsCommand {
    /// List events, the newest first
    #[command(
        after_help = "Example:\n  waypost events list --wamid wamid.HBgL...\n  waypost events list --state owed --since 2h --json"
    )]
    List(Box<EventsListArguments>),
    /// Show one event with its deliveries and their attempts
    #[command(after_help = "Example:\n  waypost events show evt_0hq3v8m2k4s7c")]
    Show {
        /// The event's identifier, or a message id (wamid)
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct EventsListArguments {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// With a delivery to this destination
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
    /// With a delivery in this state: owed, delivered, dead or discarded
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Of this conversation
    #[arg(long, value_name = "KEY")]
    pub(crate) conversation: Option<String>,
    /// Of this message
    #[arg(long, value_name = "WAMID")]
    pub(crate) wamid: Option<String>,
    /// Of this number: its id at Meta, or as people write it
    #[arg(long, value_name = "NUMBER")]
    pub(crate) number: Option<String>,
    /// Of this kind: message, status, echo, call, …
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// With an attempt that ended with this error code or HTTP status
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Received at this time or later: 2026-11-21T08:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Only what comes after this event in the list
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// Print one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DeliveriesCommand {
    /// List deliveries, the newest first
    #[command(
        after_help = "Example:\n  waypost deliveries list --state owed --destination chatwoot.example.com"
    )]
    List {
        #[command(flatten)]
        filters: Box<DeliveryFilters>,
        /// In this state: owed, sending, delivered, dead or discarded
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        #[command(flatten)]
        paging: Paging,
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one delivery with its attempts and what operators did
    #[command(after_help = "Example:\n  waypost deliveries show dlv_0hq3v8m2k4s7c")]
    Show {
        /// Its identifier
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Try owed deliveries now, without waiting for their time
    #[command(
        after_help = "Example:\n  waypost deliveries retry dlv_0hq3v8m2k4s7c\n  waypost deliveries retry --destination chatwoot.example.com"
    )]
    Retry(ActArguments),
    /// Give deliveries up for good, on record
    #[command(after_help = "Example:\n  waypost deliveries discard dlv_0hq3v8m2k4s7c --note 'spam'")]
    Discard(ActArguments),
}

#[derive(Subcommand, Debug)]
pub(crate) enum DeadCommand {
    /// List dead deliveries, the newest first
    #[command(after_help = "Example:\n  waypost dead list --code 422")]
    List {
        #[command(flatten)]
        filters: Box<DeliveryFilters>,
        #[command(flatten)]
        paging: Paging,
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one with its attempts and what operators did
    #[command(after_help = "Example:\n  waypost dead show dlv_0hq3v8m2k4s7c")]
    Show {
        /// Its identifier
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Owe dead deliveries again, with a schedule that starts anew
    #[command(
        after_help = "Example:\n  waypost dead replay dlv_0hq3v8m2k4s7c\n  waypost dead replay --destination chatwoot.example.com --since 1d\n  waypost dead replay --all --plan"
    )]
    Replay(ActArguments),
    /// Give dead deliveries up for good, on record
    #[command(after_help = "Example:\n  waypost dead discard --code 413 --since 7d")]
    Discard(ActArguments),
}

/// Which deliveries are meant. Conditions that are given must all hold.
#[derive(Args, Debug, Clone)]
pub(crate) struct DeliveryFilters {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// To this destination
    #[arg(long, value_name = "NAME")]
    pub(crate) destination: Option<String>,
    /// Of this conversation
    #[arg(long, value_name = "KEY")]
    pub(crate) conversation: Option<String>,
    /// Of this message
    #[arg(long, value_name = "WAMID")]
    pub(crate) wamid: Option<String>,
    /// Of this number: its id at Meta, or as people write it
    #[arg(long, value_name = "NUMBER")]
    pub(crate) number: Option<String>,
    /// Whose last attempt ended with this error code or HTTP status
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// That were overtaken in their conversation
    #[arg(long)]
    pub(crate) overtaken: bool,
    /// Received at this time or later: 2026-11-21T08:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

/// Which part of a list is meant.
#[derive(Args, Debug)]
pub(crate) struct Paging {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Only what comes after this delivery in the list
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
}

/// An act on one delivery, or on all that filters admit.
#[derive(Args, Debug)]
pub(crate) struct ActArguments {
    /// One delivery; without it, all that the filters admit
    #[arg(conflicts_with_all = ["source", "destination", "conversation", "wamid", "number", "code", "overtaken", "since", "until", "all"])]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) filters: Box<DeliveryFilters>,
    /// Every one there is
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count
    #[arg(long)]
    pub(crate) plan: bool,
    /// A word for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("bounds").required(true).args(["since"]))]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    pub(crate) filters: Box<DeliveryFilters>,
    /// In this state: delivered, dead or discarded
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Only count
    #[arg(long)]
    pub(crate) plan: bool,
    /// A word for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TriggerArguments {
    /// What to send: text, image, status.read, template.approved, bsuid, batch, duplicate, …; see --list
    #[arg(required_unless_present = "list")]
    pub(crate) kind: Option<String>,
    /// The callback address
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// The app secret to sign with: the secret itself, env:NAME or file:PATH; without it nothing is signed
    #[arg(long, value_name = "S")]
    pub(crate) secret: Option<String>,
    /// Webhooks a second [default: as fast as they are answered, one at a time]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u64,
    /// The business number's id at Meta
    #[arg(long, value_name = "ID", default_value = "106540352242922")]
    pub(crate) phone_number_id: String,
    /// The business number
    #[arg(long, value_name = "DIGITS", default_value = "15550783881")]
    pub(crate) number: String,
    /// The WhatsApp Business Account
    #[arg(long, value_name = "ID", default_value = "102290129340398")]
    pub(crate) waba: String,
    /// The contact's number
    #[arg(long, value_name = "DIGITS", default_value = "16505551234")]
    pub(crate) contact: String,
    /// The text of a text message
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Events in a batch
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) batch_size: usize,
    /// Trust this PEM file for the address's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print the body instead of sending it
    #[arg(long)]
    pub(crate) print: bool,
    /// List what can be sent
    #[arg(long)]
    pub(crate) list: bool,
    /// Print results as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            let leaf = !command.has_subcommands();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaf || help.starts_with("Example:"), "`{}` has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        Arguments::command().get_subcommands().for_each(check);
    }
}
