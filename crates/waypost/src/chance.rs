//! The one place that draws random bytes.

/// So many random bytes, as lower-case hexadecimal digits.
///
/// # Errors
///
/// When the system has no randomness to give.
pub(crate) fn hex<const BYTES: usize>() -> anyhow::Result<String> {
    Ok(bytes::<BYTES>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// So many random characters that an address need not escape, each worth six bits.
///
/// # Errors
///
/// When the system has no randomness to give.
pub(crate) fn token<const CHARACTERS: usize>() -> anyhow::Result<String> {
    // Base 64 for addresses (RFC 4648, section 5).
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let drawn = bytes::<CHARACTERS>()?;
    Ok(drawn.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect())
}

/// A random number.
///
/// # Errors
///
/// When the system has no randomness to give.
pub(crate) fn number() -> anyhow::Result<u64> {
    Ok(u64::from_le_bytes(bytes::<8>()?))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that draws random bytes")]
fn bytes<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes)
}
