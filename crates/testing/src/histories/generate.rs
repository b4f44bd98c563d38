//! Generators of events, steps and histories, for `arbitrary` and `proptest`: both read the same choices.

#[cfg(feature = "arbitrary")]
mod of_a_fuzzer {
    use arbitrary::{Arbitrary, Result, Unstructured};

    use super::super::outside::{Choices, Outside};
    use super::super::{History, Step, step};

    /// Makes a value of the bytes that are left, and takes those that it used.
    fn take<T>(u: &mut Unstructured<'_>, make: impl FnOnce(&mut Choices<'_>) -> T) -> Result<T> {
        let bytes = u.peek_bytes(u.len()).unwrap_or_default();
        let mut choices = Choices::of(bytes);
        let made = make(&mut choices);
        let used = bytes.len().saturating_sub(choices.left());
        u.bytes(used)?;
        Ok(made)
    }

    impl<'a> Arbitrary<'a> for Outside {
        fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
            take(u, Self::choose)
        }
    }

    impl<'a> Arbitrary<'a> for Step {
        fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
            take(u, step)
        }

        fn size_hint(_depth: usize) -> (usize, Option<usize>) {
            (2, None)
        }
    }

    impl<'a> Arbitrary<'a> for History {
        fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
            let steps = u.arbitrary_len::<Step>()?;
            let steps = (0..steps).map(|_| u.arbitrary()).collect::<Result<_>>()?;
            Ok(Self(steps))
        }

        /// The history of [`History::from_bytes`].
        fn arbitrary_take_rest(u: Unstructured<'a>) -> Result<Self> {
            Ok(Self::from_bytes(u.take_rest()))
        }
    }
}

#[cfg(feature = "proptest")]
mod strategies {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any};

    use super::super::outside::{Choices, Outside};
    use super::super::{History, Step, step};

    /// More bytes than most steps read.
    const BYTES: usize = 24;

    /// Returns a strategy for events from outside.
    pub fn any_outside() -> impl Strategy<Value = Outside> {
        vec(any::<u8>(), 0..BYTES).prop_map(|bytes| Outside::choose(&mut Choices::of(&bytes)))
    }

    /// Returns a strategy for single steps, for histories of a host's own shape.
    pub fn any_step() -> impl Strategy<Value = Step> {
        vec(any::<u8>(), 2..BYTES).prop_map(|bytes| step(&mut Choices::of(&bytes)))
    }

    /// Returns a strategy for histories of at most this many steps, half of them the ordinary continuation. `proptest`
    /// shrinks a history that fails to the steps that matter.
    pub fn any_history(steps: usize) -> impl Strategy<Value = History> {
        vec(any_step(), 0..steps.max(1)).prop_map(History)
    }
}

#[cfg(feature = "proptest")]
pub use strategies::{any_history, any_outside, any_step};
