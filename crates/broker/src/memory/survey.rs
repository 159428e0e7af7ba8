//! The look at all that is in memory.

use async_trait::async_trait;
use bytes::Bytes;

use super::{MemoryBroker, check_place};
use crate::{Error, Kept, OpenChord, ResultPlace, Spot, Survey};

#[async_trait]
impl Survey for MemoryBroker {
    async fn messages(&self, see: &mut (dyn FnMut(Kept) + Send)) -> Result<(), Error> {
        let contents = self.contents();
        for (queue, raw) in contents.waiting {
            let spot = Spot::Waiting(queue.to_string());
            see(Kept { spot, raw });
        }
        for held in contents.held {
            let (spot, raw) = (Spot::Held, held.raw);
            see(Kept { spot, raw });
        }
        for (_, _, raw) in contents.delayed {
            let spot = Spot::Delayed;
            see(Kept { spot, raw });
        }
        Ok(())
    }

    async fn open_chords(&self, place: &ResultPlace, keys: &str) -> Result<Vec<OpenChord>, Error> {
        check_place(place)?;
        let groups = self.inner.results.keys(keys, ".s");
        let state = self.inner.lock();
        let found = groups
            .iter()
            .filter_map(|group| state.chords.open(group, &self.inner.results));
        Ok(found.collect())
    }

    async fn parts(
        &self,
        place: &ResultPlace,
        group_key: &str,
    ) -> Result<Vec<(f64, Bytes)>, Error> {
        check_place(place)?;
        Ok(self.inner.lock().chords.parts(group_key))
    }
}
