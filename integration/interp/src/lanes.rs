//! Vector registers as elements, number 0 being the most significant.

/// An element of a vector.
pub(crate) trait Lane: Copy {
    const BITS: u32;
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! lane {
    ($($signed:ty, $unsigned:ty;)*) => {$(
        impl Lane for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;
            #[inline(always)]
            fn of(bits: u64) -> Self {
                bits as Self
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self)
            }
        }

        impl Lane for $signed {
            const BITS: u32 = <$signed>::BITS;
            #[inline(always)]
            fn of(bits: u64) -> Self {
                bits as Self
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
        }
    )*};
}

lane! {
    i8, u8;
    i16, u16;
    i32, u32;
    i64, u64;
}

/// Element `number`.
#[inline(always)]
pub(crate) fn get<T: Lane>(vector: u128, number: u32) -> T {
    T::of((vector >> (128 - T::BITS * (number + 1))) as u64)
}

/// The vector with another element `number`.
#[inline(always)]
pub(crate) fn put<T: Lane>(vector: u128, number: u32, value: T) -> u128 {
    let shift = 128 - T::BITS * (number + 1);
    let mask = (u128::MAX >> (128 - T::BITS)) << shift;
    vector & !mask | u128::from(value.bits()) << shift
}

/// The vector of f(number of the element).
#[inline(always)]
pub(crate) fn from_fn<T: Lane>(mut f: impl FnMut(u32) -> T) -> u128 {
    let mut vector = 0;
    for number in 0..128 / T::BITS {
        vector |= u128::from(f(number).bits()) << (128 - T::BITS * (number + 1));
    }
    vector
}

/// The vector of f(element).
#[inline(always)]
pub(crate) fn map<T: Lane>(a: u128, f: impl Fn(T) -> T) -> u128 {
    from_fn(|number| f(get(a, number)))
}

/// The vector of f(elements).
#[inline(always)]
pub(crate) fn map2<T: Lane>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128 {
    from_fn(|number| f(get(a, number), get(b, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_0_is_the_most_significant() {
        let vector = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
        assert_eq!(get::<u8>(vector, 0), 0);
        assert_eq!(get::<u32>(vector, 3), 0xccdd_eeff);
        assert_eq!(get::<i8>(vector, 15), -1);
        assert_eq!(put::<i16>(vector, 7, -2) as u32, 0xccdd_fffe);
        assert_eq!(map2::<u64>(vector, vector, |a, b| a ^ b), 0);
        assert_eq!(map::<u8>(vector, |byte| byte), vector);
    }
}
