//! Follows the database's announcements on one connection: which law answers for a family, changed hardware profiles,
//! and changed API keys.
//!
//! That LISTEN was accepted proves nothing: behind a pooler no notification may ever arrive. So the state in memory is
//! relied on only while test messages arrive that this process itself sends, over the same connections that make all
//! other announcements.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::live::family_watch::FamilyWatch;
use crate::live::keyring::Access;
use crate::live::laws::{KeptLaw, LawCache};
use crate::live::profiles::ProfileCache;
use crate::live::replica::Replica;
use crate::store::{self, StoreError, announce, keys, laws, profiles};

/// Time between two attempts to follow the announcements again.
const RETRY: Duration = Duration::from_secs(1);
/// Silence after which a test message is sent. A network or server that hangs gives no sign of it, nor does a pooler
/// that lends the connection to others, and an outdated law would answer for ever.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a test message may take to arrive, and a connection to answer. A busy machine takes seconds, and dropping
/// the caches would make it busier still.
const ANSWER: Duration = Duration::from_secs(5);

/// State in memory that must be dropped or read again when a change is announced.
#[derive(Debug)]
pub struct InMemory<L: KeptLaw> {
    /// Laws, and which of them answer for which family.
    pub laws: LawCache<L>,
    /// Hardware profiles.
    pub profiles: ProfileCache,
    /// API keys.
    pub access: Access,
    /// Families that clients follow.
    pub families: FamilyWatch,
    /// The replica that may answer reads; it must have caught up with every announced change.
    pub replica: Option<Replica>,
}

impl<L: KeptLaw> InMemory<L> {
    /// Starts or stops relying on announcements.
    fn follow(&self, followed: bool) {
        self.laws.follow(followed);
        self.profiles.follow(followed);
        if followed {
            self.access.announce();
        }
    }

    /// Drops, or reads again, what an announcement names.
    async fn heed(&self, channel: &str, name: &str) {
        // A caller whose answer reflects the change must also be able to read it from the replica.
        if let Some(replica) = self.replica.as_ref().filter(|_| channel != keys::CHANNEL) {
            replica.note_written().await;
        }
        match channel {
            keys::CHANNEL => self.access.announce(),
            profiles::CHANNEL => self.profiles.forget(|profile| profile.as_str() == name),
            _ => {
                self.laws.forget(name);
                self.families.touch(name);
            }
        }
    }
}

/// Follows the database's announcements until shutdown. While announcements do not arrive, every question looks its law
/// up in the database, keys are read at their interval, and `readyz` says so.
pub async fn follow_announcements<L: KeptLaw>(
    pool: PgPool,
    listening: Option<PgPool>,
    memory: InMemory<L>,
    shutdown: CancellationToken,
) {
    let follow = async {
        let Some(listening) = listening else { return std::future::pending().await };
        loop {
            if let Err(error) = follow_once(&pool, &listening, &memory).await {
                memory.follow(false);
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
    tokio::join!(follow, memory.access.keep(&shutdown));
}

/// Why announcements cannot be followed.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the connection that listens does not answer")]
    Silent,
    #[error(
        "what was announced was not heard within {} s: does a pooler lend connections by transaction? \
         --listen-database-url names the database itself",
        ANSWER.as_secs()
    )]
    NotHeard,
}

async fn follow_once<L: KeptLaw>(
    pool: &PgPool,
    listening: &PgPool,
    memory: &InMemory<L>,
) -> Result<(), Deaf> {
    let mut listener = PgListener::connect_with(listening).await?;
    // A lost connection is an error, and not silently replaced: announcements may have been missed, so the caches must
    // be dropped.
    listener.ignore_pool_close_event(false);
    // Our own test channel, announced over the same connections as everything else: if its messages arrive, so do the
    // others.
    let trial = format!("sparsity_planner_hearing_{}", Uuid::new_v4().simple());
    listener.listen_all([laws::CHANNEL, profiles::CHANNEL, keys::CHANNEL, &trial]).await?;
    announce(pool, &trial, "").await?;
    let (mut followed, mut awaited) = (false, true);
    loop {
        let patience = if awaited { ANSWER } else { SILENCE };
        let Ok(heard) = timeout(patience, listener.try_recv()).await else {
            if awaited {
                return Err(Deaf::NotHeard);
            }
            // If the message cannot be sent because all connections of the pool are in use, that says nothing about the
            // listener, which is then checked directly.
            awaited = matches!(timeout(ANSWER, announce(pool, &trial, "")).await, Ok(Ok(())));
            if !awaited {
                let answer = timeout(ANSWER, store::find_answer(&mut listener)).await;
                answer.map_err(|_| Deaf::Silent)??;
            }
            continue;
        };
        let heard = heard?.ok_or(sqlx::Error::WorkerCrashed)?;
        awaited = false;
        if !followed {
            followed = true;
            memory.follow(true);
        }
        if heard.channel() != trial {
            memory.heed(heard.channel(), heard.payload()).await;
        }
    }
}
