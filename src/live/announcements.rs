//! What the database announces, on one connection: which law answers for a family, that a hardware
//! profile changed, and that the API keys did.
//!
//! That LISTEN was accepted proves nothing: behind a pooler it may never be heard. So what is in memory is
//! relied on only once a word that this process announced itself, over the connections that everything is
//! announced on, has come back, and for as long as such words do.

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
/// Silence after which it is tried whether anything would be heard: a network or a server that stands still
/// does not say so, nor does a pooler that lends the connection to others, and a law would answer for ever.
const SILENCE: Duration = Duration::from_secs(1);
/// How long an announcement may take to be heard, and a connection to answer. A machine that is busy takes
/// seconds, and to give up what is remembered then makes it busier.
const ANSWER: Duration = Duration::from_secs(5);

/// What is kept in memory, and must be forgotten or read again when it is announced.
#[derive(Debug)]
pub struct InMemory<L: KeptLaw> {
    /// Laws, and which of them answer.
    pub laws: LawCache<L>,
    /// Hardware profiles.
    pub profiles: ProfileCache,
    /// API keys.
    pub access: Access,
    /// Families that are followed.
    pub families: FamilyWatch,
    /// The replica of the database that may answer reads, which must have caught up with what is announced.
    pub replica: Option<Replica>,
}

impl<L: KeptLaw> InMemory<L> {
    /// Begins or ends to rely on announcements.
    fn follow(&self, followed: bool) {
        self.laws.follow(followed);
        self.profiles.follow(followed);
        if followed {
            self.access.announce();
        }
    }

    /// Forgets, or reads again, what an announcement names.
    async fn heed(&self, channel: &str, name: &str) {
        // Whoever is answered by what was announced can also read it.
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

/// Follows the database's announcements until shutdown. While none would be heard, every question looks
/// its law up, keys are read at their interval, and `readyz` says so.
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

/// Why announcements are not followed.
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
    // A lost connection is an end and no silent new one: what was missed must be forgotten.
    listener.ignore_pool_close_event(false);
    // A word of our own, announced where everything else is: only who hears it hears the rest.
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
            // A pool of which all connections are in use says nothing about what is heard.
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
