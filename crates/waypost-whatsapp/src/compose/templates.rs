//! The payloads themselves: values in Meta's shapes with invented content, `$NAME`s left to fill in.

/// What is around a value.
pub(super) enum Envelope {
    /// An entry of the WhatsApp Business Account, as on the message path.
    Account,
    /// The same with `entry.time`, as on management fields.
    AccountTimed,
    /// An entry of the business portfolio, with its time.
    PortfolioTimed,
    /// Nothing: the value is the whole body.
    Own,
}

pub(super) struct Template {
    pub(super) kind: &'static str,
    pub(super) about: &'static str,
    pub(super) field: &'static str,
    pub(super) envelope: Envelope,
    pub(super) value: &'static str,
}

pub(super) const METADATA: &str = r#"{"display_phone_number":"$DISPLAY","phone_number_id":"$P"}"#;
pub(super) const CONTACTS: &str = r#"[{"profile":{"name":"Ana Ferrer"},"wa_id":"$FROM"}]"#;
pub(super) const BATCH_ELEMENT: &str =
    r#"{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT_INDEX"}}"#;

/// A change on the message path.
macro_rules! change {
    ($kind:literal, $field:literal, $about:literal, $value:expr) => {
        Template { kind: $kind, about: $about, field: $field, envelope: Envelope::Account, value: $value }
    };
}

/// A value with `metadata`.
macro_rules! value {
    ($($members:literal),+) => {
        concat!(r#"{"messaging_product":"whatsapp","metadata":$METADATA,"#, $($members),+, "}")
    };
}

/// An inbound message with its contact.
macro_rules! message {
    ($kind:literal, $about:literal, $members:literal) => {
        change!(
            $kind,
            "messages",
            $about,
            value!(
                r#""contacts":$CONTACTS,"messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","#,
                $members,
                "}]"
            )
        )
    };
}

/// A status of an outbound message.
macro_rules! status {
    ($kind:literal, $about:literal, $members:literal) => {
        change!(
            $kind,
            "messages",
            $about,
            value!(
                r#""statuses":[{"id":"$WAMID","timestamp":"$TIME","recipient_id":"$FROM","#,
                $members,
                "}]"
            )
        )
    };
}

/// A change of an account.
macro_rules! account {
    ($kind:literal, $field:literal, $about:literal, $value:literal) => {
        Template {
            kind: $kind,
            about: $about,
            field: $field,
            envelope: Envelope::AccountTimed,
            value: $value,
        }
    };
}

/// A change reported under the business portfolio.
macro_rules! portfolio {
    ($kind:literal, $field:literal, $about:literal, $value:literal) => {
        Template {
            kind: $kind,
            about: $about,
            field: $field,
            envelope: Envelope::PortfolioTimed,
            value: $value,
        }
    };
}

pub(super) static TEMPLATES: [Template; 89] = [
    // Messages.
    message!("text", "a text message", r#""type":"text","text":{"body":"$TEXT"}"#),
    message!(
        "image",
        "an image with a caption",
        r#""type":"image","image":{"caption":"$TEXT","mime_type":"image/jpeg","sha256":"pQ7vO0dJm3xKs1yTz5bW8eRfUoGhLkNcXaVqYiEtBw4=","id":"$NUMBER","url":"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=$NUMBER"}"#
    ),
    message!(
        "video",
        "a video",
        r#""type":"video","video":{"caption":"$TEXT","mime_type":"video/mp4","sha256":"c2Vj0dJm3xKs1yTz5bW8eRfUoGhLkNcXaVqYiEtBw48=","id":"$NUMBER"}"#
    ),
    message!(
        "audio",
        "a voice note",
        r#""type":"audio","audio":{"mime_type":"audio/ogg; codecs=opus","sha256":"a1yTz5bW8eRfUoGhLkNcXaVqYiEtBw4pQ7vO0dJm3xK=","id":"$NUMBER","voice":true}"#
    ),
    message!(
        "document",
        "a document",
        r#""type":"document","document":{"caption":"$TEXT","filename":"price list 2026/27.pdf","mime_type":"application/pdf","sha256":"GhLkNcXaVqYiEtBw4pQ7vO0dJm3xKs1yTz5bW8eRfUo=","id":"$NUMBER"}"#
    ),
    message!(
        "sticker",
        "a sticker",
        r#""type":"sticker","sticker":{"mime_type":"image/webp","sha256":"XaVqYiEtBw4pQ7vO0dJm3xKs1yTz5bW8eRfUoGhLkNc=","id":"$NUMBER","animated":false}"#
    ),
    message!(
        "location",
        "a place",
        r#""type":"location","location":{"latitude":41.403629,"longitude":2.174356,"name":"Workshop","address":"Carrer de Mallorca 401, Barcelona"}"#
    ),
    message!(
        "contacts",
        "contact cards",
        r#""type":"contacts","contacts":[{"name":{"formatted_name":"Iris Bell","first_name":"Iris","last_name":"Bell"},"phones":[{"phone":"+1 415 555 0109","wa_id":"14155550109","type":"CELL"}],"org":{"company":"Bell & Sons"}}]"#
    ),
    message!(
        "interactive.button_reply",
        "a reply button pressed",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"interactive","interactive":{"type":"button_reply","button_reply":{"id":"confirm","title":"Confirm"}}"#
    ),
    message!(
        "interactive.list_reply",
        "a row of a list chosen",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"interactive","interactive":{"type":"list_reply","list_reply":{"id":"tuesday","title":"Tuesday","description":"from nine to noon"}}"#
    ),
    message!(
        "interactive.nfm_reply",
        "a flow sent off",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"booking-$REQUEST\",\"seats\":2}"}}"#
    ),
    message!(
        "interactive.call_permission",
        "a permission to call given",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"interactive","interactive":{"type":"call_permission_reply","call_permission_reply":{"response":"accept","is_permanent":false,"expiration_timestamp":$LATER,"response_source":"user_action"}}"#
    ),
    message!(
        "button",
        "a template's quick reply",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"button","button":{"payload":"unsubscribe","text":"No more offers"}"#
    ),
    message!(
        "order",
        "an order from the catalogue",
        r#""type":"order","order":{"catalog_id":"$NUMBER","text":"$TEXT","product_items":[{"product_retailer_id":"fern-12","quantity":2,"item_price":14.50,"currency":"EUR"},{"product_retailer_id":"pot-3","quantity":1,"item_price":9,"currency":"EUR"}]}"#
    ),
    message!(
        "reaction",
        "a reaction",
        r#""type":"reaction","reaction":{"message_id":"$OTHER","emoji":"👍🏽"}"#
    ),
    message!(
        "reaction.removed",
        "a reaction taken back",
        r#""type":"reaction","reaction":{"message_id":"$OTHER"}"#
    ),
    message!(
        "reply",
        "an answer to a message",
        r#""context":{"from":"$DISPLAY","id":"$OTHER"},"type":"text","text":{"body":"$TEXT"}"#
    ),
    message!(
        "forwarded",
        "a forwarded message",
        r#""context":{"forwarded":true,"frequently_forwarded":true},"type":"text","text":{"body":"$TEXT"}"#
    ),
    message!(
        "referral",
        "a message from an ad",
        r#""referral":{"source_url":"https://fb.me/3kXw9Q2aB","source_id":"$NUMBER","source_type":"ad","headline":"Plants by post","body":"A forest on your desk","media_type":"image","image_url":"https://scontent.example/ad.jpg","ctwa_clid":"ARAk-$REQUEST","welcome_message":{"text":"Hello!"}},"type":"text","text":{"body":"$TEXT"}"#
    ),
    message!(
        "unsupported",
        "a message of a type the API does not carry",
        r#""type":"unsupported","errors":[{"code":131051,"title":"Message type unknown","message":"Message type unknown","error_data":{"details":"Message type is currently not supported."}}],"unsupported":{"type":"poll"}"#
    ),
    message!(
        "edit",
        "a message edited",
        r#""type":"edit","edit":{"original_message_id":"$OTHER","message":{"type":"text","text":{"body":"$TEXT"}}}"#
    ),
    message!(
        "revoke",
        "a message deleted for everyone",
        r#""type":"revoke","revoke":{"original_message_id":"$OTHER"}"#
    ),
    message!("request_welcome", "a chat opened for the first time", r#""type":"request_welcome""#),
    message!(
        "group",
        "a text message in a group",
        r#""group_id":"$GROUP","type":"text","text":{"body":"$TEXT"}"#
    ),
    message!(
        "unknown_type",
        "a message of a type nobody has heard of",
        r#""type":"hologram","hologram":{"depth":3}"#
    ),
    change!(
        "system",
        "messages",
        "a person changed their number",
        value!(
            r#""messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"system","system":{"body":"Ana Ferrer changed from $FROM to 14155550199","wa_id":"14155550199","type":"user_changed_number"}}]"#
        )
    ),
    change!(
        "system.user_id",
        "messages",
        "a person's business-scoped id changed",
        value!(
            r#""messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"system","system":{"body":"Ana Ferrer has a new id","wa_id":"$FROM","user_id":"$BSUID","parent_user_id":"$PARENT","type":"user_changed_user_id"}}]"#
        )
    ),
    change!(
        "bsuid",
        "messages",
        "a text from a person without a phone number",
        value!(
            r#""contacts":[{"profile":{"name":"Ana Ferrer","username":"ana.ferrer"},"user_id":"$BSUID"}],"messages":[{"from_user_id":"$BSUID","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]"#
        )
    ),
    change!(
        "bsuid.parent",
        "messages",
        "the same, with a parent id known only from the contact",
        value!(
            r#""contacts":[{"profile":{"name":"Ana Ferrer","username":"ana.ferrer"},"wa_id":"$FROM","user_id":"$BSUID","parent_user_id":"$PARENT"}],"messages":[{"from":"$FROM","from_user_id":"$BSUID","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]"#
        )
    ),
    // Statuses.
    status!(
        "status.sent",
        "an outbound message sent",
        r#""status":"sent","conversation":{"id":"5e1d$REQUEST","expiration_timestamp":"$LATER","origin":{"type":"utility"}},"pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}"#
    ),
    status!(
        "status.delivered",
        "an outbound message delivered",
        r#""status":"delivered","pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}"#
    ),
    status!("status.read", "an outbound message read", r#""status":"read""#),
    status!("status.played", "an outbound voice note played", r#""status":"played""#),
    status!(
        "status.failed",
        "an outbound message failed",
        r#""status":"failed","errors":[{"code":131026,"title":"Message undeliverable","message":"Message undeliverable","error_data":{"details":"The recipient cannot be reached."},"href":"https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"}]"#
    ),
    change!(
        "status.group",
        "messages",
        "two participants of a group got a message",
        value!(
            r#""statuses":[{"id":"$WAMID","status":"delivered","timestamp":"$TIME","recipient_id":"$GROUP","recipient_type":"group","recipient_participant_id":"$FROM"},{"id":"$WAMID","status":"delivered","timestamp":"$TIME","recipient_id":"$GROUP","recipient_type":"group","recipient_participant_id":"14155550122"}]"#
        )
    ),
    // Other things under `messages`.
    change!(
        "error",
        "messages",
        "an error that belongs to no message",
        value!(
            r#""errors":[{"code":131035,"title":"Webhook could not be delivered within data retention limit","message":"Webhook could not be delivered within data retention limit","error_data":{"details":"One webhook was dropped."}}]"#
        )
    ),
    change!(
        "action",
        "messages",
        "a link in a marketing message followed",
        value!(
            r#""user_actions":[{"action_type":"marketing_messages_link_click","timestamp":"$TIME","marketing_messages_link_click_data":{"click_component":"cta","product_id":"fern-12","click_id":"clk-$REQUEST","tracking_token":"trk-$REQUEST"}}]"#
        )
    ),
    change!(
        "batch",
        "messages",
        "many messages in one webhook",
        value!(r#""contacts":$CONTACTS,"messages":[$BATCH]"#)
    ),
    Template {
        kind: "batch.mixed",
        about: "two accounts, three changes, five events in one webhook",
        field: "messages",
        envelope: Envelope::Own,
        value: r#"{"object":"whatsapp_business_account","entry":[{"id":"$WABA","changes":[{"value":{"messaging_product":"whatsapp","metadata":$METADATA,"contacts":$CONTACTS,"messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}},{"from":"$FROM","id":"$OTHER","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]},"field":"messages"},{"value":{"messaging_product":"whatsapp","metadata":$METADATA,"statuses":[{"id":"$WAMID","status":"sent","timestamp":"$EARLIER","recipient_id":"$FROM"},{"id":"$WAMID","status":"delivered","timestamp":"$TIME","recipient_id":"$FROM"}]},"field":"messages"}]},{"id":"$PORTFOLIO","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550147799","phone_number_id":"77$P"},"statuses":[{"id":"$OTHER","status":"read","timestamp":"$TIME","recipient_id":"14155550122"}]},"field":"messages"}]}]}"#,
    },
    Template {
        kind: "test",
        about: "what the App Dashboard's Test button sends",
        field: "messages",
        envelope: Envelope::Own,
        value: r#"{"object":"whatsapp_business_account","entry":[{"id":"0","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"16505551111","phone_number_id":"123456123"},"contacts":[{"profile":{"name":"test user name"},"wa_id":"16315551181"}],"messages":[{"from":"16315551181","id":"ABGGFlA5Fpa","timestamp":"1504902988","type":"text","text":{"body":"this is a text message"}}]}}]}]}"#,
    },
    // Echoes, contacts and history of the Business app.
    change!(
        "echo",
        "smb_message_echoes",
        "a message sent from the Business app",
        value!(
            r#""contacts":$CONTACTS,"message_echoes":[{"from":"$DISPLAY","to":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]"#
        )
    ),
    change!(
        "echo.edit",
        "smb_message_echoes",
        "a sent message edited in the Business app",
        value!(
            r#""message_echoes":[{"from":"$DISPLAY","to":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"edit","edit":{"original_message_id":"$OTHER","message":{"type":"text","text":{"body":"$TEXT"}}}}]"#
        )
    ),
    change!(
        "echo.revoke",
        "smb_message_echoes",
        "a sent message deleted in the Business app",
        value!(
            r#""message_echoes":[{"from":"$DISPLAY","to":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"revoke","revoke":{"original_message_id":"$OTHER"}}]"#
        )
    ),
    change!(
        "echo.agent",
        "message_echoes",
        "a message sent by Meta's AI agent",
        value!(
            r#""message_echoes":[{"from":"$DISPLAY","to":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"},"message_creation_type":"created_by_1p_bot"}]"#
        )
    ),
    change!(
        "app_state_sync",
        "smb_app_state_sync",
        "a contact added in the Business app",
        value!(
            r#""state_sync":[{"type":"contact","contact":{"full_name":"Ana Ferrer","first_name":"Ana","phone_number":"$FROM"},"action":"add","metadata":{"timestamp":"$TIME"}}]"#
        )
    ),
    change!(
        "app_state_sync.remove",
        "smb_app_state_sync",
        "a contact removed in the Business app",
        value!(
            r#""state_sync":[{"type":"contact","contact":{"phone_number":"$FROM"},"action":"remove","metadata":{"timestamp":"$TIME"}}]"#
        )
    ),
    change!(
        "history",
        "history",
        "a chunk of chat history",
        value!(
            r#""history":[{"metadata":{"phase":0,"chunk_order":1,"progress":40},"threads":[{"id":"$FROM","messages":[{"from":"$DISPLAY","id":"$WAMID","timestamp":"$EARLIER","type":"text","text":{"body":"$TEXT"},"history_context":{"status":"READ"}},{"from":"$FROM","id":"$OTHER","timestamp":"$TIME","type":"media_placeholder","history_context":{"status":"PLAYED"}}]}]}]"#
        )
    ),
    change!(
        "history.media",
        "history",
        "an image of a chat's history, after its chunk",
        value!(
            r#""messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$EARLIER","type":"image","image":{"mime_type":"image/jpeg","sha256":"1f3c5d7e9a0b2c4d","id":"$NUMBER"}}]"#
        )
    ),
    change!(
        "history.declined",
        "history",
        "sharing of chat history declined",
        value!(
            r#""history":[{"errors":[{"code":2593109,"title":"History sync is turned off by the business from the WhatsApp Business App","message":"History sync is turned off by the business from the WhatsApp Business App","error_data":{"details":"History sharing is turned off by the business"}}]}]"#
        )
    ),
    // Calls.
    change!(
        "call.connect",
        "calls",
        "a person calls",
        value!(
            r#""contacts":$CONTACTS,"calls":[{"id":"$WACID","from":"$FROM","to":"$DISPLAY","event":"connect","timestamp":"$TIME","direction":"USER_INITIATED","session":{"sdp_type":"offer","sdp":"v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"}}]"#
        )
    ),
    change!(
        "call.terminate",
        "calls",
        "a call ended",
        value!(
            r#""calls":[{"id":"$WACID","from":"$FROM","to":"$DISPLAY","event":"terminate","direction":"USER_INITIATED","timestamp":"$TIME","status":"COMPLETED","start_time":"$EARLIER","end_time":"$TIME","duration":120}],"errors":[]"#
        )
    ),
    change!(
        "call.outbound",
        "calls",
        "a person answered the business's call",
        value!(
            r#""calls":[{"id":"$WACID","from":"$DISPLAY","to":"$FROM","event":"connect","timestamp":"$TIME","direction":"BUSINESS_INITIATED","session":{"sdp_type":"answer","sdp":"v=0\r\no=- 4612 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"}}]"#
        )
    ),
    change!(
        "call.status",
        "calls",
        "the business's call rings",
        value!(
            r#""statuses":[{"id":"$WACID","timestamp":"$TIME","type":"call","status":"RINGING","recipient_id":"$FROM"}]"#
        )
    ),
    // Groups.
    change!(
        "group.lifecycle",
        "group_lifecycle_update",
        "a group created",
        value!(
            r#""groups":[{"timestamp":"$TIME","group_id":"$GROUP","type":"group_create","request_id":"$REQUEST","subject":"Garden club","invite_link":"https://chat.whatsapp.com/G4rd3nClubInv1te","join_approval_mode":"auto_approve"}]"#
        )
    ),
    change!(
        "group.participants",
        "group_participants_update",
        "a participant joined a group",
        value!(
            r#""groups":[{"timestamp":$TIME,"group_id":"$GROUP","type":"group_participants_add","request_id":"$REQUEST","added_participants":[{"wa_id":"$FROM"}]}]"#
        )
    ),
    change!(
        "group.settings",
        "group_settings_update",
        "a group's subject changed",
        value!(
            r#""groups":[{"timestamp":"$TIME","group_id":"$GROUP","type":"group_settings_update","request_id":"$REQUEST","group_subject":{"text":"Garden club","update_successful":true}}]"#
        )
    ),
    change!(
        "group.status",
        "group_status_update",
        "a group suspended",
        value!(r#""groups":[{"timestamp":"$TIME","type":"group_suspend","group_id":"$GROUP"}]"#)
    ),
    // Who has a conversation, and what is known of people.
    change!(
        "handover",
        "messaging_handovers",
        "control of a conversation passed",
        r#"{"messaging_product":"whatsapp","sender":{"phone_number":"$FROM"},"recipient":{"phone_number_id":"$P","display_phone_number":"$DISPLAY"},"type":"control_passed","timestamp":"$TIME","control_passed":{"previous_owner_role":"ai_agent","new_owner_role":"escalation","metadata":"asked for a person"}}"#
    ),
    change!(
        "standby",
        "standby",
        "a copy of a message while another role has control",
        value!(
            r#""standby":{"messages":[{"from":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]}"#
        )
    ),
    change!(
        "standby.echo",
        "standby",
        "a copy of an echo",
        value!(
            r#""standby":{"message_echoes":[{"from":"$DISPLAY","to":"$FROM","id":"$WAMID","timestamp":"$TIME","type":"text","text":{"body":"$TEXT"}}]}"#
        )
    ),
    change!(
        "standby.status",
        "standby",
        "a copy of a status",
        value!(
            r#""standby":{"statuses":[{"id":"$WAMID","status":"read","timestamp":"$TIME","recipient_id":"$FROM"}]}"#
        )
    ),
    change!(
        "preference",
        "user_preferences",
        "a person wants no more marketing",
        value!(
            r#""contacts":[{"wa_id":"$FROM"}],"user_preferences":[{"wa_id":"$FROM","detail":"User requested to stop marketing messages","category":"marketing_messages","value":"stop","timestamp":$TIME}]"#
        )
    ),
    change!(
        "user_id_update",
        "user_id_update",
        "a person's business-scoped ids changed",
        value!(
            r#""contacts":$CONTACTS,"user_id_update":[{"wa_id":"$FROM","detail":"The user id has been updated.","user_id":{"previous":"US.90$FROM","current":"$BSUID"},"parent_user_id":{"previous":"US.ENT.90$FROM","current":"$PARENT"},"timestamp":"$TIME"}]"#
        )
    ),
    change!(
        "consumer_profile",
        "consumer_profile",
        "a field without a public description",
        value!(r#""profile":{"wa_id":"$FROM"}"#)
    ),
    change!(
        "automatic",
        "automatic_events",
        "a lead detected in a chat",
        value!(
            r#""automatic_events":[{"id":"$WAMID","event_name":"LeadSubmitted","timestamp":$TIME,"ctwa_clid":"ARAk-$REQUEST"}]"#
        )
    ),
    change!(
        "tracking",
        "tracking_events",
        "a tick of delivery tracking",
        value!(
            r#""events":[{"event_name":"delivered","timestamp":$TIME,"tracking_data":{"click_id":"clk-$REQUEST","tracking_token":"trk-$REQUEST"}}]"#
        )
    ),
    // Templates.
    account!(
        "template.approved",
        "message_template_status_update",
        "a template approved",
        r#"{"event":"APPROVED","message_template_id":$NUMBER,"message_template_name":"delivery_note","message_template_language":"en_GB","reason":"NONE","message_template_category":"UTILITY"}"#
    ),
    account!(
        "template.rejected",
        "message_template_status_update",
        "a template rejected",
        r#"{"event":"REJECTED","message_template_id":$NUMBER,"message_template_name":"spring_sale","message_template_language":"en_GB","reason":"INVALID_FORMAT","message_template_category":"MARKETING","rejection_info":{"reason":"Two parameters stand side by side.","recommendation":"Put words between them."}}"#
    ),
    account!(
        "template.quality",
        "message_template_quality_update",
        "a template's quality fell",
        r#"{"previous_quality_score":"GREEN","new_quality_score":"YELLOW","message_template_id":$NUMBER,"message_template_name":"spring_sale","message_template_language":"en_GB"}"#
    ),
    account!(
        "template.category",
        "template_category_update",
        "a template's category changed",
        r#"{"message_template_id":$NUMBER,"message_template_name":"spring_sale","message_template_language":"en_GB","previous_category":"UTILITY","new_category":"MARKETING"}"#
    ),
    account!(
        "template.category_impending",
        "template_category_update",
        "a template's category is about to change",
        r#"{"message_template_id":$NUMBER,"message_template_name":"spring_sale","message_template_language":"en_GB","new_category":"UTILITY","correct_category":"MARKETING","category_update_timestamp":$LATER}"#
    ),
    account!(
        "template.components",
        "message_template_components_update",
        "a template's text changed",
        r#"{"message_template_id":$NUMBER,"message_template_name":"delivery_note","message_template_language":"en_GB","message_template_element":"Your parcel {{1}} is on its way."}"#
    ),
    account!(
        "template.correct_category",
        "template_correct_category_detection",
        "a message sent under the wrong category",
        r#"{"message_template_id":$NUMBER,"message_template_name":"spring_sale","message_template_language":"en_GB","category":"UTILITY","correct_category":"MARKETING"}"#
    ),
    account!(
        "template.metrics",
        "template_performance_metrics",
        "a template's weekly numbers",
        r#"{"message_template_id":$NUMBER,"sent":120,"read":97}"#
    ),
    // Accounts.
    account!(
        "account.update",
        "account_update",
        "an account restricted",
        r#"{"event":"ACCOUNT_RESTRICTION","restriction_info":[{"restriction_type":"RESTRICTED_BIZ_INITIATED_MESSAGING","expiration":$LATER}]}"#
    ),
    portfolio!(
        "account.partner",
        "account_update",
        "an account's partner removed",
        r#"{"event":"PARTNER_REMOVED","waba_info":{"waba_id":"$WABA","owner_business_id":"$PORTFOLIO"},"disconnection_info":{"reason":"PRIMARY_INACTIVITY","initiated_by":"SYSTEM"}}"#
    ),
    account!(
        "account.alert",
        "account_alerts",
        "an alert about a number",
        r#"{"entity_type":"PHONE_NUMBER","entity_id":"$P","alert_info":{"alert_severity":"WARNING","alert_status":"ACTIVE","alert_type":"PROFILE_PICTURE_LOST","alert_description":"The profile picture is gone."}}"#
    ),
    account!("account.review", "account_review_update", "an account reviewed", r#"{"decision":"APPROVED"}"#),
    account!(
        "account.settings",
        "account_settings_update",
        "a number's calling settings changed",
        r#"{"messaging_product":"whatsapp","timestamp":"$TIME","type":"phone_number_settings","phone_number_settings":{"phone_number_id":"$P","calling":{"status":"ENABLED","call_icon_visibility":"DEFAULT","sip":{"status":"ENABLED","servers":[{"hostname":"sip.example.com","port":5061}]}}}}"#
    ),
    account!(
        "capability",
        "business_capability_update",
        "limits changed",
        r#"{"max_daily_conversations_per_business":10000,"max_phone_numbers_per_waba":20}"#
    ),
    account!(
        "username",
        "business_username_updates",
        "a business username approved",
        r#"{"display_phone_number":"$DISPLAY","username":"garden_club","status":"approved"}"#
    ),
    account!(
        "flows",
        "flows",
        "a flow published",
        r#"{"event":"FLOW_STATUS_CHANGE","message":"The flow went from DRAFT to PUBLISHED","flow_id":"$NUMBER","old_status":"DRAFT","new_status":"PUBLISHED"}"#
    ),
    account!(
        "flows.alert",
        "flows",
        "a flow's endpoint is slow",
        r#"{"event":"ENDPOINT_LATENCY","message":"p90 latency passed the threshold","flow_id":"$NUMBER","p50_latency":1210,"p90_latency":3350,"requests_count":412,"threshold":3000,"alert_state":"ACTIVATED"}"#
    ),
    portfolio!(
        "partner",
        "partner_solutions",
        "a multi-partner solution created",
        r#"{"event":"SOLUTION_CREATED","solution_id":"$NUMBER","solution_status":"INITIATED"}"#
    ),
    account!(
        "payment",
        "payment_configuration_update",
        "a payment configuration changed",
        r#"{"configuration_name":"main-desk","provider_name":"razorpay","provider_mid":"acc_$REQUEST","status":"Active","created_timestamp":$EARLIER,"updated_timestamp":$TIME}"#
    ),
    account!(
        "phone.name",
        "phone_number_name_update",
        "a display name decided on",
        r#"{"display_phone_number":"$DISPLAY","decision":"APPROVED","requested_verified_name":"Garden Club","rejection_reason":null}"#
    ),
    account!(
        "phone.quality",
        "phone_number_quality_update",
        "a number's throughput raised",
        r#"{"display_phone_number":"$DISPLAY","event":"THROUGHPUT_UPGRADE","current_limit":"TIER_UNLIMITED"}"#
    ),
    account!(
        "security",
        "security",
        "a request to reset a number's PIN",
        r#"{"display_phone_number":"$DISPLAY","event":"PIN_RESET_REQUEST","requester":"$NUMBER"}"#
    ),
    change!(
        "unknown",
        "starlight_updates",
        "a field nobody has heard of",
        value!(r#""starlight":{"id":"$REQUEST","brightness":0.7}"#)
    ),
];
