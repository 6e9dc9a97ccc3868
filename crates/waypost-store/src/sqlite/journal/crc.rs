//! CRC-32C (Castagnoli), eight bytes a step.
//!
//! It tells a damaged or half-written record from a whole one. It is no proof against an adversary; that a record is
//! the journal's own is told by the stamp beside it.

/// The polynomial, its bits reversed (RFC 3720, appendix B.4, gives the sums that the tests hold).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What each value of a byte adds, that many bytes before the end of a step.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let former: u32 = tables[table - 1][byte];
            tables[table][byte] = (former >> 8) ^ tables[0][(former & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The sum of these bytes.
pub(super) fn of(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    let (steps, rest) = bytes.as_chunks::<8>();
    for step in steps {
        let [a, b, c, d, e, f, g, h] = *step;
        let [a, b, c, d] = (u32::from_le_bytes([a, b, c, d]) ^ crc).to_le_bytes();
        crc = TABLES[7][usize::from(a)]
            ^ TABLES[6][usize::from(b)]
            ^ TABLES[5][usize::from(c)]
            ^ TABLES[4][usize::from(d)]
            ^ TABLES[3][usize::from(e)]
            ^ TABLES[2][usize::from(f)]
            ^ TABLES[1][usize::from(g)]
            ^ TABLES[0][usize::from(h)];
    }
    for byte in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(*byte ^ crc.to_le_bytes()[0])];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_sums_are_found() {
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(of(b""), 0);
    }

    proptest! {
        #[test]
        fn no_single_flipped_bit_goes_unnoticed(mut bytes in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8_u8) {
            let sum = of(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(of(&bytes), sum);
        }
    }
}
