//! `keys`: create, list and revoke API keys.

use anyhow::Context;
use chrono::TimeDelta;
use clap::Subcommand;
use serde_json::json;
use uuid::Uuid;

use crate::app::Database;
use crate::cli::print::{print_json, print_line};
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::domain::access::{Families, KeyText, Scope};
use crate::domain::api_key::ApiKey;
use crate::domain::page::PageRequest;
use crate::domain::text::{FamilyName, check_label};
use crate::store::keys;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it; it is shown only this once. Once a key exists, the service requires one.
    Create {
        /// Name that tells people whose key it is.
        #[arg(long)]
        name: String,
        /// Scope of the key: read, write (includes read) or admin (includes both).
        #[arg(long, value_parser = scope)]
        scope: Scope,
        /// Family that the key may access; can be given several times. All families by default.
        #[arg(long = "family", value_name = "FAMILY")]
        families: Vec<String>,
        /// Days after which the key expires; never by default.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Print all keys, without their secrets.
    List {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Revoke a key; every replica refuses it at once.
    Revoke {
        /// Id of the key, as printed by `keys list`.
        id: Uuid,
        #[command(flatten)]
        database: DatabaseConfig,
    },
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::of_name(name).ok_or_else(|| "must be read, write or admin".to_owned())
}

pub async fn manage_keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { name, scope, families, expires_in_days, database } => {
            check_label(&name).context("the name")?;
            let families = match families.as_slice() {
                [] => Families::All,
                names => {
                    let names = names.iter().map(|name| FamilyName::new(name));
                    Families::Only(names.collect::<Result<_, _>>().context("the name of a family")?)
                }
            };
            let database = Database::open(&database).await?;
            let clock = Clock::system();
            let created_at = clock.now();
            let key = ApiKey {
                id: clock.new_id(),
                name,
                scope,
                families,
                created_by: "cli".to_owned(),
                created_at,
                expires_at: expires_in_days.map(|days| created_at + TimeDelta::days(days.into())),
                revoked_at: None,
                last_used_at: None,
            };
            let text = KeyText::random(key.id)?;
            keys::insert_key(&database.pool, &key, &text.hash()).await?;
            database.close().await?;
            eprintln!("created the key {}:", key.id);
            // The only output on standard output, for scripts.
            print_line(text.reveal())?;
        }
        KeysCommand::List { database } => {
            let database = Database::open(&database).await?;
            let mut listed = Vec::new();
            let mut after = None;
            loop {
                let page =
                    keys::list_keys(&database.pool, PageRequest { limit: 1000, after }).await?;
                listed.extend(page.items.iter().map(|key| {
                    json!({
                        "id": key.id,
                        "name": key.name,
                        "scope": key.scope.as_str(),
                        "families": key.families.names(),
                        "created_by": key.created_by,
                        "created_at": key.created_at,
                        "expires_at": key.expires_at,
                        "revoked_at": key.revoked_at,
                        "last_used_at": key.last_used_at,
                    })
                }));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            database.close().await?;
            print_json(&listed)?;
        }
        KeysCommand::Revoke { id, database } => {
            let database = Database::open(&database).await?;
            let revoked =
                keys::update_key_revoked(&database.pool, id, Clock::system().now()).await?;
            database.close().await?;
            let key = revoked.with_context(|| format!("there is no key {id}"))?;
            eprintln!("the key {id} ({}) is revoked", key.name);
        }
    }
    Ok(())
}
