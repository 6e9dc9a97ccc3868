// Made from the types in src/normal; a test keeps it so.

/** One event, in the shape that receivers get. */
export type NormalEvent = {
  /** Whom it is from, to or about; in groups the one participant. */
  contact?: PersonView;
  /** What this event, besides what it says, told of the person: where a stream carries an event of its own for that, it goes before this one. */
  contact_change?: ContactChange;
  /** The conversation it belongs to. One person stays one conversation. */
  conversation?: string;
  /** Who wrote or called; of a status, who wrote what it is about. */
  direction?: Direction;
  /** Where the request it came in can be looked at. */
  evidence: string;
  /** Whether the evidence is kept no more. */
  evidence_gone?: boolean;
  /** The webhook field it came under. */
  field?: string;
  /** The group it happened in. */
  group_id?: string;
  /** The gateway's id of the event. Ids ascend in order of acceptance. */
  id: string;
  /** Whether it is a copy, while another role has control of the conversation: not to be answered. */
  is_copy?: boolean;
  /** The business number it belongs to. */
  number?: BusinessNumber;
  /** When it happened, by Meta's clock (RFC 3339). */
  occurred_at?: string;
  /** The event as Meta wrote it, where asked for. */
  raw?: Fragment;
  /** When it was accepted, by the gateway's clock (RFC 3339). */
  received_at?: string;
  /** The address it came in by. */
  source: string;
  /** What stands in place of `data` where only the event's record is there: where the evidence is kept no more, or the receiver may not see it. */
  summary?: Summary;
  /** The version of this shape. */
  version: number;
  /** The WhatsApp Business Account it belongs to. */
  waba_id?: string;
} & (
  /** What happened, and what is said of it. */
  | Data
  /** Only the record is there; `summary` says what that tells. */
  | {
    data?: undefined;
    /** What happened. */
    type: "message:new" | "message:edited" | "message:revoked" | "message:reaction" | "message:echo" | "message:status" | "message:history" | "history:chunk" | "contact:new" | "contact:updated" | "contact:preference" | "contact:action" | "call:connect" | "call:terminate" | "call:status" | "call:other" | "conversation:handover" | "conversation:detection" | "group:updated" | "tracking:tick" | "error" | "account:template" | "account:quality" | "account:limits" | "account:review" | "account:restriction" | "account:alert" | "account:security" | "account:flow" | "account:updated" | "unknown";
  }
);

/** A change at the level of the account. */
export type AccountChange = {
  /** How it is now. */
  current?: string;
  /** All that Meta wrote. */
  details: Fragment;
  /** Meta's word for it: an event, a decision, an alert's type, a status. */
  event?: string;
  /** The flow it is about. */
  flow_id?: string;
  /** How it was: a quality, category, status or limit. */
  previous?: string;
  /** Why. */
  reason?: string;
  /** The template it is about. */
  template?: Template;
};

/** Something a person did, such as following a link. */
export type Action = {
  /** Meta's word for it. */
  action?: string;
  /** What Meta wrote of it: the member named after the action. */
  details?: Fragment;
};

/** A business number. */
export type BusinessNumber = {
  /** The number, as Meta writes it. */
  display?: string;
  /** Meta's id of it. */
  id?: string;
};

/** Something about a call. */
export type Call = {
  /** Meta's id of the call. */
  call_id?: string;
  /** What the business attached to it. */
  callback_data?: string;
  /** All that Meta wrote, where the event is not `connect`, `terminate` or a status. */
  details?: Fragment;
  /** How long it lasted, in seconds. */
  duration_s?: number;
  /** When it ended. */
  ended_at?: string;
  /** What went wrong with it. */
  errors?: Problem[];
  /** Meta's word for what happened: `connect`, `terminate` and others. */
  event?: string;
  /** Who called. */
  from?: string;
  /** The session's description (RFC 8866). */
  sdp?: string;
  /** `offer` or `answer`. */
  sdp_type?: string;
  /** When it was answered. */
  started_at?: string;
  /** How it ended, or, of a call by the business, how it fares: `RINGING`, `ACCEPTED`, `REJECTED`. */
  status?: string;
  /** Who was called. */
  to?: string;
};

/** What an event told of its person. */
export type ContactChange = (
  /** It is the first that was heard of them. */
  | "new"
  /** A name, username or identity of theirs is new. */
  | "updated"
);

/** What changed about a person. */
export type ContactUpdate = {
  /** What happened: `user_id`, a system message's own word such as `user_changed_number`, or, in the business's address book, `address_book_add` (which is also said of changes) and `address_book_remove`. `profile` is the gateway's word: an event came with a name, username or identity that was not known of them. */
  change: string;
  /** The first name in the address book. */
  first_name?: string;
  /** The full name in the address book. */
  full_name?: string;
  /** The message that said so. */
  message_id?: string;
  /** The notice that Meta shows for it. */
  text?: string;
};

/** What a message holds, by type. */
export type Content = (
  /** Text. */
  | {
    /** What is written. */
    body?: string;
    type: "text";
  }
  /** An image. */
  | Media & {
    type: "image";
  }
  /** A video. */
  | Media & {
    type: "video";
  }
  /** Sound, or a voice note. */
  | Media & {
    type: "audio";
  }
  /** A file. */
  | Media & {
    type: "document";
  }
  /** A sticker. */
  | Media & {
    type: "sticker";
  }
  /** A place. */
  | {
    /** Where it is. */
    address?: string;
    /** Degrees north. */
    latitude?: number;
    /** Degrees east. */
    longitude?: number;
    /** What the place is called. */
    name?: string;
    type: "location";
    /** A link about it. */
    url?: string;
  }
  /** Contact cards. */
  | {
    /** The cards, as Meta wrote them. */
    cards: Fragment[];
    type: "contacts";
  }
  /** A reply button was pressed. */
  | {
    /** The button's id. */
    id?: string;
    /** What is on it. */
    title?: string;
    type: "button_reply";
  }
  /** A row of a list was chosen. */
  | {
    /** What is below that. */
    description?: string;
    /** The row's id. */
    id?: string;
    /** What is on it. */
    title?: string;
    type: "list_reply";
  }
  /** A flow or a form was sent off. */
  | {
    /** What the person sees of it. */
    body?: string;
    /** `flow`, or `address_message`. */
    name?: string;
    /** The answers: JSON in a text. */
    response_json?: string;
    type: "flow_reply";
  }
  /** A request to be allowed to call was answered. */
  | {
    /** Until when it holds. */
    expires_at?: string;
    /** Whether it holds for good. */
    is_permanent?: boolean;
    /** `accept` or `reject`. */
    response?: string;
    /** What brought the answer about. */
    response_source?: string;
    type: "call_permission";
  }
  /** An interactive message of a sort that is not known here, or without anything in it. */
  | {
    /** What Meta wrote. */
    details?: Fragment;
    type: "interactive";
  }
  /** A template's quick reply was pressed. */
  | {
    /** What the template attached to it. */
    payload?: string;
    /** What is on it. */
    text?: string;
    type: "button";
  }
  /** An order from the catalogue. */
  | {
    /** The catalogue. */
    catalog_id?: string;
    /** What is ordered. */
    items: OrderItem[];
    /** What is written beside it. */
    text?: string;
    type: "order";
  }
  /** A notice by WhatsApp. */
  | {
    /** The notice. */
    body?: string;
    /** What about, such as `user_changed_number`. */
    event?: string;
    /** The new parent business-scoped user id. */
    parent_user_id?: string;
    type: "system";
    /** The new business-scoped user id. */
    user_id?: string;
    /** The new phone number. */
    wa_id?: string;
  }
  /** A reaction, in places where a message of its own is none, such as in an edit. */
  | Reaction & {
    type: "reaction";
  }
  /** An edit, likewise. */
  | {
    /** What it holds now. */
    content: Content;
    /** The message that was edited. */
    original_id?: string;
    type: "edit";
  }
  /** A deletion, likewise. */
  | {
    /** The message that was deleted. */
    original_id?: string;
    type: "revoke";
  }
  /** A message that the API does not carry; its `errors` say more. */
  | {
    type: "unsupported";
    /** Of which type it was. */
    unsupported_type?: string;
  }
  /** A chat was opened for the first time. */
  | {
    type: "request_welcome";
  }
  /** Media of chat history, which follow in an event of their own. */
  | {
    type: "media_placeholder";
  }
  /** A message that had vanished. */
  | {
    type: "ephemeral";
  }
  /** A type that is not known here. */
  | {
    /** The member of that name. */
    details?: Fragment;
    /** Meta's word for it. */
    name?: string;
    type: "other";
  }
);

/** What a message answers, or where it was forwarded from. */
export type Context = {
  /** The catalogue of the product it asks about. */
  catalog_id?: string;
  /** Whether it was forwarded. */
  forwarded?: boolean;
  /** Whether it was forwarded many times. */
  frequently_forwarded?: boolean;
  /** Who wrote that one. */
  from?: string;
  /** The message it answers. */
  message_id?: string;
  /** The product it asks about. */
  product_id?: string;
};

/** What happened: `type` is the word for it, `data` what is said of it. */
export type Data = (
  /** A person wrote. */
  | {
    data: Message;
    type: "message:new";
  }
  /** A message was edited; its content is an `edit`. */
  | {
    data: Message;
    type: "message:edited";
  }
  /** A message was deleted for everyone; its content is a `revoke`. */
  | {
    data: Message;
    type: "message:revoked";
  }
  /** Somebody reacted to a message, or took that back. */
  | {
    data: Reaction;
    type: "message:reaction";
  }
  /** A message was sent on the business side by another sender. */
  | {
    data: Message;
    type: "message:echo";
  }
  /** What became of a message that the business sent. */
  | {
    data: StatusReport;
    type: "message:status";
  }
  /** A message of chat history that came by itself. */
  | {
    data: Message;
    type: "message:history";
  }
  /** A piece of chat history. */
  | {
    data: HistoryChunk;
    type: "history:chunk";
  }
  /** The gateway saw a person for the first time. */
  | {
    data: Record<string, never>;
    type: "contact:new";
  }
  /** Something about a person changed. */
  | {
    data: ContactUpdate;
    type: "contact:updated";
  }
  /** A person chose what to be sent. */
  | {
    data: Preference;
    type: "contact:preference";
  }
  /** A person did something, such as following a link. */
  | {
    data: Action;
    type: "contact:action";
  }
  /** A call begins. */
  | {
    data: Call;
    type: "call:connect";
  }
  /** A call has ended. */
  | {
    data: Call;
    type: "call:terminate";
  }
  /** How a call by the business fares. */
  | {
    data: Call;
    type: "call:status";
  }
  /** Something else about a call. */
  | {
    data: Call;
    type: "call:other";
  }
  /** Control of a conversation was passed or taken. */
  | {
    data: Handover;
    type: "conversation:handover";
  }
  /** A lead or purchase was detected in a conversation. */
  | {
    data: Detection;
    type: "conversation:detection";
  }
  /** A group was created, changed, joined, left or suspended. */
  | {
    data: GroupChange;
    type: "group:updated";
  }
  /** A tick of marketing delivery tracking. */
  | {
    data: Tick;
    type: "tracking:tick";
  }
  /** An error that belongs to no message. */
  | {
    data: Problem;
    type: "error";
  }
  /** A template was approved, rejected, rated, moved or changed. */
  | {
    data: AccountChange;
    type: "account:template";
  }
  /** A number's quality or throughput changed. */
  | {
    data: AccountChange;
    type: "account:quality";
  }
  /** Limits changed. */
  | {
    data: AccountChange;
    type: "account:limits";
  }
  /** An account or a display name was reviewed. */
  | {
    data: AccountChange;
    type: "account:review";
  }
  /** The account was restricted, banned or deleted. */
  | {
    data: AccountChange;
    type: "account:restriction";
  }
  /** An alert was raised. */
  | {
    data: AccountChange;
    type: "account:alert";
  }
  /** A two-step PIN was changed or asked for. */
  | {
    data: AccountChange;
    type: "account:security";
  }
  /** A flow's status or health changed. */
  | {
    data: AccountChange;
    type: "account:flow";
  }
  /** Anything else about the account: settings, usernames, partners, payments. */
  | {
    data: AccountChange;
    type: "account:updated";
  }
  /** Something that is not understood. */
  | {
    data: {
      /** As Meta wrote it; absent where the body is no JSON. */
      details?: Fragment;
    };
    type: "unknown";
  }
);

/** A lead or purchase that Meta detected in a conversation. */
export type Detection = {
  /** Meta's id of the click on the ad. */
  ctwa_clid?: string;
  /** The currency of a purchase. */
  currency?: string;
  /** `LeadSubmitted` or `Purchase`, in any case. */
  event?: string;
  /** The message it was detected in. */
  message_id?: string;
  /** Its value, in thousandths. */
  value?: number;
};

/** Who wrote or called. */
export type Direction = (
  /** A person. */
  | "inbound"
  /** The business. */
  | "outbound"
);

/** JSON as Meta wrote it. */
export type Fragment = unknown;

/** A group was created, changed, joined, left or suspended. */
export type GroupChange = {
  /** Meta's word for it, such as `group_create`. */
  change?: string;
  /** What it is about. */
  description?: string;
  /** All that Meta wrote. */
  details: Fragment;
  /** What went wrong. */
  errors?: Problem[];
  /** Who brought it about: `business` or `participant`. */
  initiated_by?: string;
  /** The link that invites to it. */
  invite_link?: string;
  /** `auto_approve`, or whether joining must be approved. */
  join_approval_mode?: string;
  /** Who joined or left, or asked to. */
  participants?: PersonView[];
  /** The request of the business that brought it about. */
  request_id?: string;
  /** What the group is called. */
  subject?: string;
};

/** Control of a conversation was passed or taken. */
export type Handover = {
  /** `control_passed` or `control_taken`. */
  change?: string;
  /** What the conversation was about until now. */
  conversation_context?: Fragment;
  /** Why. */
  metadata?: string;
  /** Who has it now. */
  new_owner_role?: string;
  /** Who had control. */
  previous_owner_role?: string;
};

/** A piece of a number's chat history. */
export type HistoryChunk = {
  /** Its place in the phase. */
  chunk_order?: number;
  /** Why there is none: sharing was declined. */
  errors?: Problem[];
  /** Whether there are more messages than are listed; the fragment has all. */
  is_partial: boolean;
  /** 0 for the last day, 1 up to 90 days, 2 up to 180 days. */
  phase?: number;
  /** How much of the history has come, in percent. */
  progress?: number;
  /** The conversations in it. */
  threads: HistoryThread[];
};

/** A message of a chunk of history. */
export type HistoryMessage = {
  /** Who wrote it. */
  from?: string;
  /** The message. */
  message: Message;
  /** When. */
  occurred_at?: string;
};

/** A conversation in a chunk of history. */
export type HistoryThread = {
  /** With whom: a phone number or a user id. */
  id?: string;
  /** The messages. */
  messages: HistoryMessage[];
};

/** A file that came with a message. It is fetched from Meta by its id. */
export type Media = {
  /** Whether a sticker moves. */
  animated?: boolean;
  /** What is written below it. */
  caption?: string;
  /** A document's name. */
  filename?: string;
  /** Meta's id of the file. */
  media_id?: string;
  /** Its media type. */
  mime_type?: string;
  /** Its hash: base64, or hex in chat history. */
  sha256?: string;
  /** Where it can be fetched with a token, for a while. */
  url?: string;
  /** Whether sound is a voice note. */
  voice?: boolean;
};

/** A message, inbound or sent on the business side. */
export type Message = {
  /** What it holds. */
  content: Content;
  /** What it answers or where it was forwarded from. */
  context?: Context;
  /** What Meta says of the conversation around it, where conversations are routed. */
  conversation_context?: Fragment;
  /** Who made a message of the business that no person wrote, such as `created_by_1p_bot`. */
  creation_type?: string;
  /** What went wrong with it. */
  errors?: Problem[];
  /** What became of a message of chat history, in lower case. */
  history_status?: string;
  /** Meta's id of it. */
  id?: string;
  /** The sender's identity hash, where the business checks identities. */
  identity?: Fragment;
  /** The ad or post that led to it. */
  referral?: Referral;
};

/** One thing ordered. */
export type OrderItem = {
  /** In which currency. */
  currency?: string;
  /** What one costs. */
  price?: number;
  /** The seller's id of it. */
  product_id?: string;
  /** How many. */
  quantity?: number;
};

/** A person, with every identity that the webhook tells. */
export type PersonView = {
  /** Ids that were theirs until this event, and are no longer. */
  former?: string[];
  /** The hash of their identity, where the business checks identities. */
  identity_key_hash?: string;
  /** What they call themselves. */
  name?: string;
  /** The parent business-scoped user id. */
  parent_user_id?: string;
  /** The business-scoped user id. */
  user_id?: string;
  /** The username. */
  username?: string;
  /** The phone number, in digits. */
  wa_id?: string;
};

/** A person's choice about messages. */
export type Preference = {
  /** About what, such as `marketing_messages`. */
  category?: string;
  /** What Meta says of it. */
  detail?: string;
  /** What was signed up to. */
  signup_id?: string;
  /** `stop`, `resume` or `signup`. */
  value?: string;
};

/** What a message costs. */
export type Pricing = {
  /** Whether it is charged. */
  billable?: boolean;
  /** Such as `marketing`. */
  category?: string;
  /** `PMP` or `CBP`. */
  model?: string;
  /** `regular`, or why it is free. */
  type?: string;
};

/** An error as Meta reports it. */
export type Problem = {
  /** Meta's code, in digits. */
  code?: string;
  /** What it says further. */
  details?: string;
  /** Where it is described. */
  href?: string;
  /** What it says. */
  message?: string;
  /** What it is called. */
  title?: string;
};

/** A reaction to a message. */
export type Reaction = {
  /** The emoji; `null` where the reaction was taken back. */
  emoji: string | null;
  /** Meta's id of the reaction itself. */
  id?: string;
  /** The message it is to. */
  message_id?: string;
};

/** The ad or post that led to a message. */
export type Referral = {
  /** Its text. */
  body?: string;
  /** Meta's id of the click. */
  ctwa_clid?: string;
  /** Its headline. */
  headline?: string;
  /** The image. */
  image_url?: string;
  /** `image` or `video`. */
  media_type?: string;
  /** What the link to the chat carried. */
  ref?: string;
  /** Meta's id of it. */
  source_id?: string;
  /** `ad` or `post`. */
  source_type?: string;
  /** Its address. */
  source_url?: string;
  /** The video's first image. */
  thumbnail_url?: string;
  /** The video. */
  video_url?: string;
  /** What the ad greeted with. */
  welcome_text?: string;
};

/** What became of a message the business sent. */
export type StatusReport = {
  /** What the sender attached to the message. */
  callback_data?: string;
  /** When it ends. */
  conversation_expires_at?: string;
  /** Meta's id of the conversation that is charged. */
  conversation_id?: string;
  /** What that conversation is about, such as `utility`. */
  conversation_origin?: string;
  /** Why it failed. */
  errors?: Problem[];
  /** The message. */
  message_id?: string;
  /** In groups, at whom: the id that tells participants apart. */
  participant?: string;
  /** What it costs. */
  pricing?: Pricing;
  /** What has become of the message, this status taken in. Absent where nobody looked. */
  state?: StatusState;
  /** Meta's word: `sent`, `delivered`, `read`, `played`, `failed`, or a newer one. */
  status?: string;
};

/** What has become of a message that the business sent, once this status is taken in; in groups, at this one participant. It only moves forward, in whatever order statuses arrive. */
export type StatusState = {
  /** Whether it is this status that moved it forward. */
  changed: boolean;
  /** Since when, by Meta's clock (RFC 3339). */
  since?: string;
  /** The furthest status: `sent`, `failed`, `delivered`, `read` or `played`, in this order. Absent where none of these was reported. */
  status?: string;
};

/** What is said of an event in place of `data`, where only its record is there. */
export type Summary = {
  /** The message it is or is about. */
  message_id?: string;
  /** Of a status in a group, at whom: the id that tells participants apart. */
  participant?: string;
  /** Of a status, what has become of the message. */
  state?: StatusState;
  /** Meta's word within the type: a message's type, a status, a call's event. */
  word?: string;
};

/** A message template. */
export type Template = {
  /** Its category. */
  category?: string;
  /** Meta's id of it, in digits. */
  id?: string;
  /** Its language. */
  language?: string;
  /** What it is called. */
  name?: string;
};

/** A tick of marketing delivery tracking. */
export type Tick = {
  /** What is tracked. */
  details?: Fragment;
  /** Meta's word for it. */
  event?: string;
};
