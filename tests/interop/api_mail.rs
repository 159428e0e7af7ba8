//! Mails about accounts, from a request to a mail server, and back by their links.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use lovage_integration_tests::api_server::{ADMIN, Caller, PASSWORD};
use lovage_integration_tests::{
    ApiServer, KeeperProcess, LovageWorker, RedisServer, SmtpServer, wait,
};
use serde_json::{Value, json};

/// All that a mail needs to arrive.
struct Stage {
    api: ApiServer,
    mail: SmtpServer,
    _keeper: KeeperProcess,
    _worker: LovageWorker,
    _redis: RedisServer,
}

impl Stage {
    fn new() -> Self {
        let redis = RedisServer::start();
        let mail = SmtpServer::plain();
        let url = [("LOVAGE_API_URL", "https://tasks.example.org")];
        let api = ApiServer::with(&redis, &url);
        let worker = LovageWorker::builder(&redis)
            .variable("DATABASE_URL", api.database())
            .variable("MAIL_SERVER", "localhost")
            .variable("MAIL_PORT", &mail.port().to_string())
            .variable("MAIL_DEFAULT_SENDER", "Lovage <lovage@example.org>")
            .start();
        Self {
            _keeper: api.keeper(),
            api,
            mail,
            _worker: worker,
            _redis: redis,
        }
    }

    /// The next mail: to whom, and what it says.
    fn next(&self) -> (String, String) {
        let mail = self.mail.next();
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        // Lines are broken where they are long.
        let data = text(&mail["data"]).replace("=\r\n", "").replace("=3D", "=");
        (text(&mail["to"][0]), data)
    }
}

fn mails(caller: &Caller, query: &str) -> Vec<Value> {
    let page = caller.get(&format!("/api/v1/mail{query}")).json();
    page["mails"].as_array().unwrap().clone()
}

#[test]
fn promise_19_a_reset_is_mailed_good_once_and_says_nothing_of_who_exists() {
    let stage = Stage::new();
    let api = &stage.api;
    let forgot = |email: &str| {
        let answer = api
            .nobody()
            .post("/api/v1/auth/forgot", &json!({"email": email}));
        (answer.status, answer.text)
    };
    assert_eq!(forgot("nobody@example.org"), (202, String::new()));
    assert_eq!(forgot(ADMIN), (202, String::new()));
    // Nobody else got a mail before.
    let (to, text) = stage.next();
    assert_eq!(to, ADMIN);
    let link = "https://tasks.example.org/password#";
    let token = text.split(link).nth(1).unwrap_or_else(|| panic!("{text}"));
    let token = token
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)))
        .next()
        .unwrap();
    let admin = api.admin();
    // Whoever looks at mails does not get in by it.
    let shown = mails(&admin, "")[0].clone();
    assert_eq!(
        (&shown["template"], &shown["recipient"]),
        (&json!("reset"), &json!(ADMIN))
    );
    let path = format!("/api/v1/mail/{}", shown["id"].as_str().unwrap());
    assert_eq!(admin.get(&path).json()["text"], Value::Null);
    let reset = |token: &str| {
        let body = json!({"token": token, "new_password": "quite another one"});
        api.nobody().post("/api/v1/auth/reset", &body).status
    };
    assert_eq!(reset("made-up"), 401);
    assert_eq!(reset(token), 204);
    assert_eq!(reset(token), 401, "it is good once");
    assert_eq!(
        admin.get("/api/v1/auth/me").status,
        401,
        "every session has ended"
    );
    api.log_in(ADMIN, "quite another one");
    let (to, text) = stage.next();
    assert_eq!(to, ADMIN);
    assert!(text.contains("password was changed"), "{text}");
    // The page that the link leads to needs nothing from elsewhere.
    let page = api.nobody().get("/password");
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("https://"), "{}", page.text);
}

#[test]
fn a_mail_of_which_nothing_is_known_is_sent_again_by_hand() {
    let stage = Stage::new();
    let admin = stage.api.admin();
    let new = json!({"email": "once-gone@example.org", "password": PASSWORD, "role": "viewer"});
    assert_eq!(admin.post("/api/v1/users", &new).status, 201);
    assert_eq!(stage.mail.next()["dropped"], "once-gone@example.org");
    wait::eventually("it to be uncertain", || {
        mails(&admin, "?state=uncertain").len() == 1
    });
    let uncertain = mails(&admin, "?state=uncertain").remove(0);
    assert_eq!(uncertain["template"], "welcome");
    let path = format!("/api/v1/mail/{}", uncertain["id"].as_str().unwrap());
    let text = admin.get(&path).json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("https://tasks.example.org"), "{text}");
    let again = || admin.send("POST", &format!("{path}/send-again"), &[], "");
    assert_eq!(again().status, 202);
    assert_eq!(stage.next().0, "once-gone@example.org");
    wait::eventually("it to be sent", || {
        admin.get(&path).json()["mail"]["state"] == "sent"
    });
    let refused = again();
    assert_eq!(
        (refused.status, &refused.value()["code"]),
        (409, &json!("conflict"))
    );
    assert_eq!(mails(&admin, "?state=sent").len(), 1);
    let audit = admin.get("/api/v1/audit?action=mail.send-again").json();
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1);
}
