//! Types that are known by more than their bounds: a value of a type parameter as the type that it is, and functions made
//! again from their types.

use std::any::TypeId;

/// `value` seen as a `B`, when `A` and `B` are the same type; folds away in optimised builds.
///
/// `Any::downcast_ref` does the same for sized types only; slices need it too.
#[inline]
pub(crate) fn same_type<A: ?Sized + 'static, B: ?Sized + 'static>(value: &A) -> Option<&B> {
    if TypeId::of::<A>() != TypeId::of::<B>() {
        return None;
    }
    // SAFETY: the type ids are equal, so `A` and `B` are one type, and `&A` and `&B` have one size and meaning.
    Some(unsafe { std::mem::transmute_copy::<&A, &B>(&value) })
}

/// `value` seen as a `B` that may be changed, when `A` and `B` are the same type.
#[inline]
pub(crate) fn same_type_mut<A: 'static, B: 'static>(value: &mut A) -> Option<&mut B> {
    let value: &mut dyn std::any::Any = value;
    value.downcast_mut()
}

/// `value` as a `B`, when `A` and `B` are the same type, else given back.
#[inline]
pub(crate) fn into_same_type<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    if TypeId::of::<A>() != TypeId::of::<B>() {
        return Err(value);
    }
    let value = std::mem::ManuallyDrop::new(value);
    // SAFETY: the type ids are equal, so this is a move within one type; the original is never dropped.
    Ok(unsafe { std::mem::transmute_copy::<A, B>(&value) })
}

/// Some value of a type without bytes: a function item or a closure that captures nothing.
///
/// # Panics
///
/// Panics when the type has a size.
pub(crate) fn conjure<F: Copy + 'static>() -> F {
    assert_eq!(size_of::<F>(), 0, "only a type without bytes can be made out of nothing");
    // SAFETY: reading a zero-sized value touches no memory, for which any aligned pointer will do. The caller of the public
    // function passed one such value in, and `F: Copy` allows more of it. That one may exist in this process as well, which did
    // not make it, is the condition that `Portable` states for that caller: the function captures no token.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_type_is_seen() {
        assert_eq!(same_type::<str, str>("a"), Some("a"));
        assert_eq!(same_type::<[u8], [u8]>(b"a"), Some(&b"a"[..]));
        assert_eq!(same_type::<u8, u16>(&1), None);
        assert_eq!(into_same_type::<String, String>("a".to_owned()), Ok("a".to_owned()));
        assert_eq!(into_same_type::<String, Vec<u8>>("a".to_owned()), Err("a".to_owned()));
    }

    #[test]
    fn a_function_is_made_out_of_nothing() {
        fn twice(x: i32) -> i32 {
            2 * x
        }
        fn again<F: Fn(i32) -> i32 + Copy + 'static>(_: F) -> i32 {
            conjure::<F>()(4)
        }
        assert_eq!(again(twice), 8);
        assert_eq!(again(|x| x + 1), 5);
    }
}
