//! Revocations in memory.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::TaskId;

use super::MemoryBroker;
use crate::{
    Error, Recorded, Revocations, Revoke, Target, envelope,
    revocation::{Choice, EXCHANGE, TERMINATION_LIFE},
};

#[async_trait]
impl Revocations for MemoryBroker {
    async fn revoke(&self, revoke: &Revoke) -> Result<(), Error> {
        let mut state = self.inner.lock();
        let now = state.now();
        let (life, minute) = (revoke.life.as_secs_f64(), TERMINATION_LIFE.as_secs_f64());
        state
            .revoked
            .retain(|(target, at)| at + life >= now && !revoke.targets.contains(target));
        state.terminated.retain(|(_, _, at)| at + minute >= now);
        for target in &revoke.targets {
            state.revoked.push((target.clone(), now));
            if let Some(signal) = &revoke.terminate {
                state.terminated.push((target.clone(), signal.clone(), now));
            }
        }
        let excess = state.revoked.len().saturating_sub(revoke.most);
        state.revoked.drain(..excess);
        drop(state);
        self.inner.fanout.send(EXCHANGE, "", &Bytes::new());
        Ok(())
    }

    async fn recorded(&self, since: f64) -> Result<Recorded, Error> {
        let state = self.inner.lock();
        let revoked = state.revoked.iter().filter(|(_, at)| *at > since);
        let terminated = state.terminated.iter().filter(|(_, _, at)| *at > since);
        Ok(Recorded {
            now: state.now(),
            revoked: revoked.cloned().collect(),
            terminated: terminated.cloned().collect(),
        })
    }

    async fn is_revoked(&self, target: &Target, life: Duration) -> Result<bool, Error> {
        let state = self.inner.lock();
        let oldest = state.now() - life.as_secs_f64();
        let mut revoked = state.revoked.iter();
        Ok(revoked.any(|(revoked, at)| revoked == target && *at >= oldest))
    }

    async fn recall(&self, ids: &[TaskId]) -> Result<u64, Error> {
        let meant = |raw: &Bytes| {
            let identity = envelope::identity(raw);
            ids.iter().any(|id| id.as_str() == identity)
        };
        let recalled = self.inner.lock().recall(meant);
        self.inner.arrived.notify_waiters();
        Ok(recalled)
    }

    async fn recall_where(&self, _texts: &[String], choice: Choice<'_>) -> Result<u64, Error> {
        let recalled = self.inner.lock().recall(|raw| choice(raw));
        self.inner.arrived.notify_waiters();
        Ok(recalled)
    }
}
