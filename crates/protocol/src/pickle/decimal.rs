//! Integers of any length from their bytes.

use crate::format::FormatError;
use crate::value::Value;

/// Python itself writes no integer with more decimal digits than this (`sys.set_int_max_str_digits`); so many bytes hold them.
const MOST_BYTES: usize = 1786;

/// Reads a two's complement number, lowest byte first.
pub(super) fn integer(bytes: &[u8]) -> Result<Value, FormatError> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    if bytes.len() <= 8 {
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        return Ok(Value::Int(i64::from_le_bytes(all)));
    }
    if bytes.len() > MOST_BYTES {
        return Err(FormatError::unfit("an int of more than 4300 digits"));
    }
    let mut limbs: Vec<u32> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut all = [if negative { 0xff } else { 0 }; 4];
            all[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(all)
        })
        .collect();
    if negative {
        negate(&mut limbs);
    }
    let mut text = digits(limbs);
    if negative {
        text.insert(0, '-');
    }
    Ok(text.parse().map_or(Value::Big(text), Value::Int))
}

/// The two's complement.
fn negate(limbs: &mut [u32]) {
    let mut carry = true;
    for limb in limbs {
        let (next, over) = (!*limb).overflowing_add(carry.into());
        *limb = next;
        carry = over;
    }
}

/// Decimal digits of an unsigned number, lowest limb first: nine digits a division.
fn digits(mut limbs: Vec<u32>) -> String {
    const STEP: u64 = 1_000_000_000;
    let mut groups = Vec::new();
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
    while !limbs.is_empty() {
        let mut rest: u64 = 0;
        for limb in limbs.iter_mut().rev() {
            let value = (rest << 32) | u64::from(*limb);
            // Below 2^32, because the rest is below the divisor.
            *limb = u32::try_from(value / STEP).unwrap_or(u32::MAX);
            rest = value % STEP;
        }
        groups.push(rest);
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
    }
    let mut text = groups.pop().unwrap_or(0).to_string();
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_become_their_decimal_digits() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(integer(bytes).unwrap().to_json(), expected, "{bytes:?}");
        };
        check(&[], "0");
        check(&[0xff], "-1");
        check(&[0xff, 0], "255");
        check(&[0, 0x80], "-32768");
        check(&[0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808");
        check(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0], "9223372036854775808");
        check(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "-1",
        );
        let two_to_the_100 = [vec![0; 12], vec![0x10]].concat();
        check(&two_to_the_100, "1267650600228229401496703205376");
        let minus = [vec![0; 12], vec![0xf0]].concat();
        check(&minus, "-1267650600228229401496703205376");
        assert!(integer(&[1; MOST_BYTES + 1]).is_err());
    }
}
