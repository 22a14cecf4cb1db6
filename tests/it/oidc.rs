//! Tokens of an issuer: which are accepted, what they allow, and what happens while the issuer changes its keys or is
//! away.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use axum::{Json, Router};
use axum_test::TestResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use sparsity_planner::api::layers::throttle::{Rate, ThrottleConfig};
use sparsity_planner::clock::Clock;
use sparsity_planner::domain::access::Scope;
use sparsity_planner::oidc::{OidcConfig, Tokens};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::process::{Process, planner, script};
use crate::support::wait::until;
use crate::support::{App, CREATED, NO_CONTENT, OK, clock, empty_database, problem};

const AUDIENCE: &str = "planner";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of the test's issuer, which is used nowhere else.
enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(include_bytes!("issuer-rsa.pk8")).unwrap())
    }

    fn ec() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => rsa_signature(key, &RSA_PKCS1_SHA256, message),
            Self::Ec(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key())})
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims, signed by this key.
    fn token(&self, id: &str, claims: &Value) -> String {
        token(&json!({"alg": self.algorithm(), "kid": id}), claims, |text| self.sign(text))
    }
}

fn rsa_signature(
    key: &RsaKeyPair,
    padding: &'static dyn signature::RsaEncoding,
    message: &[u8],
) -> Vec<u8> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// An issuer on loopback.
#[derive(Clone)]
struct Issuer {
    url: String,
    served: Arc<Served>,
    stop: CancellationToken,
}

struct Served {
    discovery: Mutex<Value>,
    keys: Mutex<Value>,
    asked: AtomicU32,
}

impl Issuer {
    async fn start(keys: Value) -> Self {
        async fn discovery(State(served): State<Arc<Served>>) -> Json<Value> {
            Json(served.discovery.lock().unwrap().clone())
        }
        async fn jwks(State(served): State<Arc<Served>>) -> Json<Value> {
            served.asked.fetch_add(1, Ordering::Relaxed);
            Json(json!({"keys": *served.keys.lock().unwrap()}))
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Served {
            discovery: json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).into(),
            keys: keys.into(),
            asked: AtomicU32::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(jwks))
            .with_state(served.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served.unwrap(),
                () = stopped => {}
            }
        });
        Self { url, served, stop }
    }

    fn publish(&self, keys: Value) {
        *self.served.keys.lock().unwrap() = keys;
    }

    fn asked(&self) -> u32 {
        self.served.asked.load(Ordering::Relaxed)
    }

    fn config(&self) -> OidcConfig {
        OidcConfig {
            oidc_issuer: Some(self.url.clone()),
            oidc_audience: Some(AUDIENCE.to_owned()),
            oidc_scope_claim: "scope".to_owned(),
            oidc_scopes: vec![
                ("plan:read".to_owned(), Scope::Read),
                ("plan:write".to_owned(), Scope::Write),
                ("plan:admin".to_owned(), Scope::Admin),
            ],
            oidc_families_claim: None,
            oidc_leeway_ms: 30_000,
            oidc_max_token_bytes: 4_096,
            oidc_refresh_ms: 3_600_000,
            oidc_unknown_key_ms: 86_400_000,
            oidc_keys_kept_ms: 86_400_000,
        }
    }

    /// Claims of a token with the scope `read`, valid for an hour.
    fn claims(&self, clock: &Clock) -> Value {
        let now = clock.now().timestamp();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "nbf": now,
            "exp": now + 3600, "scope": "openid plan:read",
        })
    }
}

fn with(claims: &Value, claim: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[claim] = value;
    claims
}

async fn app(config: &OidcConfig) -> App {
    let clock = clock();
    let tokens = Tokens::open(config, clock.clone()).await.unwrap();
    App::with_tokens(tokens, clock, ThrottleConfig::unlimited()).await
}

async fn ask(app: &App, token: &str) -> TestResponse {
    app.server.get("/v1/families").authorization_bearer(token).await
}

/// Checks that a token is refused as invalid, and returns the answer with the reason.
async fn refused(app: &App, token: &str) -> String {
    let answer = ask(app, token).await;
    problem(&answer, 401, "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    answer.json::<Value>()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_of_each_algorithm_are_taken_and_keys_beside_them() {
    let signers = [("r", Signer::rsa()), ("e", Signer::ec()), ("d", Signer::ed())];
    let keys: Vec<_> = signers.iter().map(|(id, signer)| signer.jwk(id)).collect();
    let issuer = Issuer::start(json!(keys)).await;
    let app = app(&issuer.config()).await;
    let claims = issuer.claims(&app.clock);
    for (id, signer) in &signers {
        let token = signer.token(id, &claims);
        ask(&app, &token).await.assert_status(OK);
        // The second time the token is remembered.
        ask(&app, &token).await.assert_status(OK);
        // There is only one key of its type, so the token need not name it.
        let header = json!({"alg": signer.algorithm()});
        ask(&app, &self::token(&header, &claims, |text| signer.sign(text))).await.assert_status(OK);
        let audiences = with(&claims, "aud", json!(["other", AUDIENCE]));
        ask(&app, &signer.token(id, &audiences)).await.assert_status(OK);
    }
    // Nobody gets in without a token, although no key was ever created.
    let bare = app.get("/v1/families").await;
    problem(&bare, 401, "unauthenticated");
    assert_eq!(bare.header("www-authenticate"), "Bearer");
    app.get("/healthz").await.assert_status(OK);
    // An administrator with a token may create a key, and the key is accepted too.
    let boss = with(&claims, "scope", json!("plan:admin"));
    let boss = signers[1].1.token("e", &boss);
    let created = app.server.post("/v1/keys").authorization_bearer(&boss);
    let created = created.json(&json!({"name": "ci", "scope": "read"})).await;
    created.assert_status(CREATED);
    let created: Value = created.json();
    assert_eq!(created["created_by"], "oidc:ada");
    ask(&app, created["key"].as_str().unwrap()).await.assert_status(OK);
    refused(&app, "sp_0_0").await;
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn tokens_for_others_or_other_times_are_refused() {
    let signer = Signer::ec();
    let issuer = Issuer::start(json!([signer.jwk("e")])).await;
    let app = app(&issuer.config()).await;
    let (claims, now) = (issuer.claims(&app.clock), app.clock.now().timestamp());
    let gone = |claim: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    for (claims, why) in [
        (with(&claims, "exp", json!(now - 31)), "expired"),
        (with(&claims, "nbf", json!(now + 31)), "not valid yet"),
        (with(&claims, "iat", json!(now + 31)), "in the future"),
        (with(&claims, "aud", json!("another")), "audience"),
        (with(&claims, "aud", json!(["a", "b"])), "audience"),
        (with(&claims, "aud", json!([])), "audience"),
        (with(&claims, "iss", json!("https://id.example.org")), "issuer"),
        (with(&claims, "iss", json!([issuer.url])), "cannot be read"),
        (with(&claims, "sub", json!("")), "subject"),
        (gone("exp"), "cannot be read"),
        (gone("aud"), "lacks"),
        (gone("iss"), "cannot be read"),
        (gone("sub"), "cannot be read"),
    ] {
        let detail = refused(&app, &signer.token("e", &claims)).await;
        assert!(detail.contains(why), "{detail}: {claims}");
    }
    // A remembered token expires too.
    let short = signer.token("e", &with(&claims, "exp", json!(now + 60)));
    ask(&app, &short).await.assert_status(OK);
    app.clock.advance(TimeDelta::seconds(89));
    ask(&app, &short).await.assert_status(OK);
    app.clock.advance(TimeDelta::seconds(1));
    assert!(refused(&app, &short).await.contains("expired"));
}

#[tokio::test]
async fn what_is_not_signed_as_it_should_be_is_refused() {
    let (rsa, other) = (Signer::rsa(), Signer::ec());
    let jwk = rsa.jwk("r");
    let issuer = Issuer::start(json!([jwk, other.jwk("e")])).await;
    let app = app(&issuer.config()).await;
    let claims = issuer.claims(&app.clock);
    let good = rsa.token("r", &claims);
    ask(&app, &good).await.assert_status(OK);
    let Signer::Rsa(pair) = &rsa else { unreachable!() };

    let header = |algorithm: &str| json!({"alg": algorithm, "kid": "r", "typ": "JWT"});
    let unsigned = |algorithm: &str| token(&header(algorithm), &claims, |_| Vec::new());
    // The public key as the secret of HS256, in the forms in which libraries have accepted it.
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let der = pair.public().as_ref().to_vec();
    let hs256 = |secret: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        token(&header("HS256"), &claims, |text| hmac::sign(&key, text).as_ref().to_vec())
    };
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let richer = encode(with(&claims, "scope", json!("plan:admin")).to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[7] ^= 1;
    let critical = json!({"alg": "RS256", "kid": "r", "crit": ["exp"]});
    for token in [
        unsigned("none"),
        unsigned("None"),
        unsigned("RS256"),
        hs256(&modulus),
        hs256(&der),
        hs256(jwk.to_string().as_bytes()),
        token(&header("RS512"), &claims, |text| rsa_signature(pair, &RSA_PKCS1_SHA512, text)),
        // A valid signature under the name of another algorithm or key.
        token(&header("ES256"), &claims, |text| rsa.sign(text)),
        token(&json!({"alg": "RS256", "kid": "e"}), &claims, |text| rsa.sign(text)),
        token(&json!({"alg": "ES256", "kid": "r"}), &claims, |text| other.sign(text)),
        token(&critical, &claims, |text| rsa.sign(text)),
        // The attacker's own key in the header.
        token(&json!({"alg": "ES256", "kid": "e", "jwk": other.jwk("e")}), &claims, |text| {
            Signer::ec().sign(text)
        }),
        format!("{head}.{richer}.{signature}"),
        format!("{signed}.{}", encode(flipped)),
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}.{signature}"),
        format!("{head}..{signature}"),
        format!("{body}.{head}.{signature}"),
        "eyJ".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{head}.{}.{signature}", encode("[".repeat(500))),
    ] {
        let detail = refused(&app, &token).await;
        assert!(!detail.contains("eyJ"), "{detail}");
    }
    let long = with(&claims, "more", json!("x".repeat(4_096)));
    assert!(refused(&app, &rsa.token("r", &long)).await.contains("too long"));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_invented_ones_cost_the_issuer_nothing() {
    let (old, new) = (Signer::ec(), Signer::ed());
    let issuer = Issuer::start(json!([old.jwk("old")])).await;
    let app = app(&issuer.config()).await;
    let claims = issuer.claims(&app.clock);
    let before = old.token("old", &claims);
    ask(&app, &before).await.assert_status(OK);
    issuer.publish(json!([new.jwk("new")]));
    ask(&app, &new.token("new", &claims)).await.assert_status(OK);
    assert_eq!(issuer.asked(), 2);
    // The old key was withdrawn, so a remembered token signed by it is refused too.
    assert!(refused(&app, &before).await.contains("not known"));
    for invented in 0..20 {
        refused(&app, &new.token(&format!("invented-{invented}"), &claims)).await;
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn keys_serve_on_while_the_issuer_is_away_but_not_for_ever() {
    let signer = Signer::ec();
    let issuer = Issuer::start(json!([signer.jwk("e")])).await;
    let patient = app(&issuer.config()).await;
    let config = OidcConfig { oidc_keys_kept_ms: 1_000, oidc_refresh_ms: 20, ..issuer.config() };
    let strict = app(&config).await;
    let token = signer.token("e", &issuer.claims(&strict.clock));
    let kept = CancellationToken::new();
    let (access, shutdown) = (strict.access.clone(), kept.clone());
    tokio::spawn(async move { access.keep(&shutdown).await });
    // While the issuer answers, its keys are read again and again.
    let asked = issuer.asked();
    until(async || issuer.asked() > asked + 2, "the issuer is asked").await;
    ask(&strict, &token).await.assert_status(OK);
    issuer.stop.cancel();
    until(async || ask(&strict, &token).await.status_code() != OK, "tokens are refused").await;
    let answer = ask(&strict, &token).await;
    problem(&answer, 503, "unavailable");
    assert!(answer.headers().contains_key("retry-after"));
    ask(&patient, &token).await.assert_status(OK);
    kept.cancel();
    // A service that starts meanwhile does start, but lets nobody in.
    let late = app(&issuer.config()).await;
    problem(&ask(&late, &token).await, 503, "unavailable");
    problem(&late.get("/v1/families").await, 401, "unauthenticated");
}

#[tokio::test]
async fn claims_say_what_a_holder_may_do_and_the_audit_log_who_did_it() {
    let signer = Signer::ed();
    let issuer = Issuer::start(json!([signer.jwk("d")])).await;
    let config = OidcConfig { oidc_families_claim: Some("families".to_owned()), ..issuer.config() };
    let app = app(&config).await;
    let claims = with(&issuer.claims(&app.clock), "families", json!(["mine", "t5-c4"]));
    let holder = |scope: &str| signer.token("d", &with(&claims, "scope", json!(scope)));
    let (none, reader) = (holder("openid"), holder("plan:read"));
    let (writer, boss) = (holder("plan:read plan:write"), holder("plan:admin"));
    let send = async |method: Method, path: &str, token: &str| {
        let request = app.server.method(method, path).authorization_bearer(token);
        request.json(&json!({"name": "mine"})).await
    };
    let nothing = send(Method::GET, "/v1/families/t5-c4", &none).await;
    problem(&nothing, 403, "forbidden");
    let detail = nothing.json::<Value>()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "this needs the scope read; the token has none");
    problem(&send(Method::POST, "/v1/families", &reader).await, 403, "forbidden");
    send(Method::POST, "/v1/families", &writer).await.assert_status(CREATED);
    problem(&send(Method::DELETE, "/v1/families/mine", &writer).await, 403, "forbidden");
    // A token for some families allows these, and nothing that concerns all families.
    send(Method::GET, "/v1/families/t5-c4", &reader).await.assert_status(OK);
    problem(&send(Method::GET, "/v1/families/vit-jft", &boss).await, 403, "forbidden");
    let listed: Value = ask(&app, &reader).await.json();
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|f| &f["name"]).collect();
    assert_eq!(names, ["mine", "t5-c4"]);
    problem(&send(Method::GET, "/v1/keys", &boss).await, 403, "forbidden");
    // Without the claim a token is for no family.
    let nowhere = signer.token("d", &with(&claims, "families", json!(null)));
    let listed: Value = ask(&app, &nowhere).await.json();
    assert_eq!(listed["items"], json!([]));
    problem(&send(Method::GET, "/v1/families/t5-c4", &nowhere).await, 403, "forbidden");
    send(Method::DELETE, "/v1/families/mine", &boss).await.assert_status(NO_CONTENT);

    let everywhere = with(&with(&claims, "families", json!("*")), "scope", json!(["plan:admin"]));
    let everywhere = signer.token("d", &everywhere);
    let log = async || {
        let events = app.server.get("/v1/audit-events?actor=oidc:ada");
        let events: Value = events.authorization_bearer(&everywhere).await.json();
        events["items"].as_array().unwrap().clone()
    };
    until(async || log().await.len() == 4, "four events").await;
    let events = log().await;
    // Refusals are stored separately from the writes, so their order may differ.
    let mut statuses: Vec<_> =
        events.iter().map(|event| event["status"].as_u64().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 204, 403, 403]);
    assert!(events.iter().all(|event| event["actor_name"].is_null()));
}

#[tokio::test]
async fn a_subject_has_one_quota_whatever_its_tokens() {
    let signer = Signer::ed();
    let issuer = Issuer::start(json!([signer.jwk("d")])).await;
    let clock = clock();
    let tokens = Tokens::open(&issuer.config(), clock.clone()).await.unwrap();
    let throttle =
        ThrottleConfig { per_key: Rate::per_second(1, 2), ..ThrottleConfig::unlimited() };
    let app = App::with_tokens(tokens, clock, throttle).await;
    let claims = issuer.claims(&app.clock);
    let mut answers = Vec::new();
    for id in 0..3 {
        let token = signer.token("d", &with(&claims, "jti", json!(id)));
        answers.push(ask(&app, &token).await);
    }
    problem(&answers[2], 429, "too-many-requests");
    answers[0].assert_status(OK);
    let eve = signer.token("d", &with(&claims, "sub", json!("eve")));
    ask(&app, &eve).await.assert_status(OK);
}

#[tokio::test]
async fn an_issuer_that_says_it_is_another_is_not_believed() {
    let signer = Signer::ec();
    let issuer = Issuer::start(json!([signer.jwk("e")])).await;
    let app = app(&issuer.config()).await;
    let token = signer.token("e", &issuer.claims(&app.clock));
    for discovery in [
        json!({"issuer": "https://id.example.org", "jwks_uri": format!("{}/keys", issuer.url)}),
        json!({"issuer": issuer.url, "jwks_uri": "http://192.0.2.1/keys"}),
        json!({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": issuer.url}),
        json!("x".repeat(2 << 20)),
    ] {
        *issuer.served.discovery.lock().unwrap() = discovery;
        let late = self::app(&issuer.config()).await;
        problem(&ask(&late, &token).await, 503, "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_an_issuer_may_listen_anywhere_and_logs_no_token() {
    let signer = Signer::ec();
    let issuer = Issuer::start(json!([signer.jwk("e")])).await;
    let url = empty_database().await;
    let scopes = "plan:read=read,plan:write=write";
    let arguments = [
        "--oidc-issuer",
        &issuer.url,
        "--oidc-audience",
        AUDIENCE,
        "--oidc-scopes",
        scopes,
        "--log",
        "trace",
    ];
    let address = "0.0.0.0:0";
    let mut service = Process::serve_on(address, &url, &arguments, &[]).await;
    let base = service.base().replace("0.0.0.0", "127.0.0.1");
    let now = Clock::system();
    let claims = issuer.claims(&now);
    let good = signer.token("e", &claims);
    let bad = signer.token("e", &with(&claims, "aud", json!("another")));
    let unknown = signer.token("new", &claims);
    let mut statuses = String::new();
    for token in [&good, &bad, &unknown] {
        let ask = format!(
            "curl -sS -o /dev/null -w '%{{http_code}} ' -H 'Authorization: Bearer {token}' $BASE/v1/families"
        );
        statuses += &tokio::task::block_in_place(|| script(&base, &ask));
    }
    statuses += &script(&base, "curl -sS -o /dev/null -w '%{http_code}' $BASE/v1/families");
    assert_eq!(statuses, "200 401 401 401");
    let log = service.stop();
    assert!(log.contains("/v1/families"));
    for token in [good, bad, unknown] {
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "part of a token is in the log");
        }
    }
    // An incomplete configuration is refused.
    let complete = &arguments[..6];
    let plain = ["--oidc-issuer", "http://id.example.org"];
    for arguments in [
        &complete[..4],
        &[&complete[..2], &complete[4..]].concat(),
        &[&plain, &complete[2..]].concat(),
        &[complete, &["--oidc-refresh-ms", "2000", "--oidc-keys-kept-ms", "2000"]].concat(),
    ] {
        let serve = [&["serve", "--bind", "127.0.0.1:0"], arguments].concat();
        let output = planner(&url, &serve);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains("--oidc-"), "{message}");
    }
}
