//! What the database announces, on one connection: which law answers for a family, that a hardware
//! profile changed, and that the API keys did.

use std::io;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::live::keyring::Access;
use crate::live::laws::{KeptLaw, LawCache};
use crate::live::profiles::ProfileCache;
use crate::live::replica::Replica;
use crate::store::{self, keys, laws, profiles};

/// Time between two attempts to follow the announcements again.
const RETRY: Duration = Duration::from_secs(1);
/// Silence after which the connection is asked whether it still is one: a network or a server that stands
/// still does not say so, and a law would answer for ever.
const SILENCE: Duration = Duration::from_secs(1);
/// How long its answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Follows the database's announcements until shutdown. While it cannot, every question looks its
/// law up, keys are read at their interval, and `readyz` says so.
pub async fn follow_announcements<L: KeptLaw>(
    pool: PgPool,
    laws: LawCache<L>,
    known: ProfileCache,
    access: Access,
    replica: Option<Replica>,
    shutdown: CancellationToken,
) {
    let follow = async {
        loop {
            if let Err(error) = follow_once(&pool, &laws, &known, &access, replica.as_ref()).await {
                laws.follow(false);
                known.follow(false);
                tracing::warn!(%error, "following announcements");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let follow = async {
        tokio::select! {
            () = follow => {}
            () = shutdown.cancelled() => {}
        }
    };
    tokio::join!(follow, access.keep(&shutdown));
}

async fn follow_once<L: KeptLaw>(
    pool: &PgPool,
    laws: &LawCache<L>,
    known: &ProfileCache,
    access: &Access,
    replica: Option<&Replica>,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    // A lost connection is an end and no silent new one: what was missed must be forgotten.
    listener.ignore_pool_close_event(false);
    listener.listen_all([laws::CHANNEL, profiles::CHANNEL, keys::CHANNEL]).await?;
    laws.follow(true);
    known.follow(true);
    access.announce();
    loop {
        let Ok(announced) = timeout(SILENCE, listener.try_recv()).await else {
            let answer = timeout(ANSWER, store::find_answer(&mut listener)).await;
            answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            continue;
        };
        let announced = announced?.ok_or(sqlx::Error::WorkerCrashed)?;
        // Whoever is answered by what was announced can also read it.
        if let Some(replica) = replica.filter(|_| announced.channel() != keys::CHANNEL) {
            replica.note_written().await;
        }
        match announced.channel() {
            keys::CHANNEL => access.announce(),
            profiles::CHANNEL => known.forget(|name| name.as_str() == announced.payload()),
            _ => laws.forget(announced.payload()),
        }
    }
}
