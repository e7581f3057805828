//! Where a frame may run.

/// Where a frame may run: at any worker, or only at the worker of one place of the pool.
///
/// One word, since each frame carries it: 0 means anywhere, a small number is a place, counted from 1, and one with the highest
/// bit is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(u64);

/// The bit that says that the others are the hash of a key.
const KEY: u64 = 1 << 63;

impl Home {
    /// Any worker.
    pub(crate) const ANYWHERE: Home = Home(0);

    /// The worker of one place, whichever process has it.
    pub(crate) fn place(at: usize) -> Home {
        Home(at as u64 + 1)
    }

    /// The worker of the place that a key belongs to, by its hash.
    pub(crate) fn key(hash: u64) -> Home {
        Home(hash | KEY)
    }

    #[inline]
    pub(crate) fn is_anywhere(self) -> bool {
        self == Home::ANYWHERE
    }

    /// Whether it is one place, whatever the number of places.
    #[inline]
    pub(crate) fn is_place(self) -> bool {
        !self.is_anywhere() && self.0 & KEY == 0
    }

    /// The place in a pool with so many; `None` if the frame may run anywhere, or there is no such place.
    ///
    /// A key belongs to the place with the highest score among those that `can_serve`, or among all if none can. The score
    /// depends on the key and the place alone (rendezvous hashing). So a place that comes or goes moves the keys that it gets
    /// or had, and no others.
    pub(crate) fn among(self, places: usize, can_serve: impl Fn(usize) -> bool) -> Option<usize> {
        if self.0 & KEY != 0 {
            let best = |can_serve: &dyn Fn(usize) -> bool| {
                (0..places).filter(|at| can_serve(*at)).max_by_key(|at| mix(self.0 ^ mix(*at as u64 + 1)))
            };
            return best(&can_serve).or_else(|| best(&|_| true));
        }
        let at = usize::try_from(self.0.checked_sub(1)?).ok()?;
        (at < places).then_some(at)
    }
}

/// Spreads every bit over all bits: the last step of the generator SplitMix64.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: usize) -> bool {
        true
    }

    #[test]
    fn a_place_is_where_it_is_as_long_as_it_is() {
        assert_eq!(Home::ANYWHERE.among(8, all), None);
        let places = [(0, 1), (7, 8), (7, 7)].map(|(at, places)| Home::place(at).among(places, all));
        assert_eq!(places, [Some(0), Some(7), None]);
        assert!(Home::ANYWHERE.is_anywhere() && !Home::place(0).is_anywhere());
        assert!(Home::place(0).is_place() && !Home::ANYWHERE.is_place() && !Home::key(1).is_place());
    }

    #[test]
    fn keys_are_spread_evenly_and_only_those_of_a_place_that_comes_or_goes_move() {
        const KEYS: u64 = 10_000;
        for places in 1..12 {
            let mut counts = vec![0u64; places];
            for key in (0..KEYS).map(|key| Home::key(mix(key))) {
                let before = key.among(places, all).unwrap();
                counts[before] += 1;
                // One place more.
                let after = key.among(places + 1, all).unwrap();
                assert!(after == before || after == places);
                // A place that cannot serve, and is asked for by no key then.
                let without = key.among(places, |at| at != 0).unwrap();
                assert!(without == before || before == 0);
                assert!(without != 0 || places == 1);
            }
            let even = KEYS / places as u64;
            assert!(counts.iter().all(|count| count.abs_diff(even) < even / 4), "{counts:?}");
        }
        assert_eq!((Home::key(7).among(0, all), Home::key(7).among(3, |_| false)), (None, Home::key(7).among(3, all)));
    }
}
