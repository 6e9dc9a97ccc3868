//! The account at the authority: made once, kept, found again.

use instant_acme::{Account, AccountBuilder, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use crate::keep::{self, Keep};
use crate::order::Failure;
use crate::settings::Settings;
use crate::transport::Transport;

/// The form in which it is kept: its address, its key, its contact.
#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Option<String>,
    credentials: AccountCredentials,
}

/// The account that is kept; none where there is none yet. The directory is read anew.
pub(crate) async fn find(
    settings: &Settings,
    keep: &dyn Keep,
    transport: &Transport,
) -> Result<Option<Account>, Failure> {
    let key = key(settings);
    let Some(value) = keep.get(&key).await? else { return Ok(None) };
    let Ok(kept) = serde_json::from_slice::<Kept>(&value) else {
        tracing::warn!("the account that was kept cannot be read; another will be made");
        return Ok(None);
    };
    let former_contact = kept.contact;
    let account = builder(transport).from_credentials(kept.credentials).await?;
    if former_contact != settings.contact {
        change_contact(settings, keep, &account, &value).await;
    }
    Ok(Some(account))
}

/// Makes an account, and keeps it.
pub(crate) async fn make(
    settings: &Settings,
    keep: &dyn Keep,
    transport: &Transport,
) -> Result<Account, Failure> {
    let contact = contact(settings);
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let account =
        NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = settings.external_account.as_ref();
    let external = external.map(|external| ExternalAccountKey::new(external.key_id.clone(), &external.key));
    let made = builder(transport).create(&account, settings.directory.clone(), external.as_ref()).await;
    let (account, credentials) = made.map_err(|error| explained(error, settings))?;
    let kept = Kept { contact: settings.contact.clone(), credentials };
    let value = serde_json::to_vec(&kept).map_err(Error::from)?;
    keep.put(&key(settings), value).await?;
    Ok(account)
}

async fn change_contact(settings: &Settings, keep: &dyn Keep, account: &Account, value: &[u8]) {
    let contact = contact(settings);
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let Err(error) = account.update_contacts(&contact).await {
        tracing::warn!(%error, "the authority did not take the new contact address");
        return;
    }
    let Ok(mut kept) = serde_json::from_slice::<Kept>(value) else { return };
    kept.contact.clone_from(&settings.contact);
    if let Ok(value) = serde_json::to_vec(&kept)
        && let Err(error) = keep.put(&key(settings), value).await
    {
        tracing::warn!(%error, "the new contact address could not be kept");
    }
}

fn builder(transport: &Transport) -> AccountBuilder {
    Account::builder_with_http(Box::new(transport.clone()))
}

fn contact(settings: &Settings) -> Option<String> {
    settings.contact.as_ref().map(|address| format!("mailto:{address}"))
}

fn key(settings: &Settings) -> String {
    let external = settings.external_account.as_ref().map(|external| external.key_id.as_str());
    keep::account(&settings.directory, external)
}

fn explained(error: Error, settings: &Settings) -> Failure {
    let mut failure = Failure::from(error);
    if settings.external_account.is_none() && failure.is("externalAccountRequired") {
        failure.sentence.push_str("; give the key id and key of your account there");
    }
    failure
}
