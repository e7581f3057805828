//! Where a frame may run.

/// Where a frame may run: at any worker, or only at the worker of one place of the pool.
///
/// One word, since each frame carries it: 0 means anywhere, a small number is a place, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(u64);

impl Home {
    /// Any worker.
    pub(crate) const ANYWHERE: Home = Home(0);

    /// The worker of one place, whichever process has it.
    pub(crate) fn place(at: usize) -> Home {
        Home(at as u64 + 1)
    }

    #[inline]
    pub(crate) fn is_anywhere(self) -> bool {
        self == Home::ANYWHERE
    }

    /// The place in a pool with so many; `None` if the frame may run anywhere, or there is no such place.
    pub(crate) fn among(self, places: usize) -> Option<usize> {
        let at = usize::try_from(self.0.checked_sub(1)?).ok()?;
        (at < places).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_where_it_is_as_long_as_it_is() {
        assert_eq!(Home::ANYWHERE.among(8), None);
        assert_eq!(
            (Home::place(0).among(1), Home::place(7).among(8), Home::place(7).among(7)),
            (Some(0), Some(7), None)
        );
        assert!(Home::ANYWHERE.is_anywhere() && !Home::place(0).is_anywhere());
    }
}
