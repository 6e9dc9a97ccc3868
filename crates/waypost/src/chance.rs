//! The one place that draws random bytes.

/// So many random bytes, as lower-case hexadecimal digits.
///
/// # Errors
///
/// When the system has no randomness to give.
#[expect(clippy::disallowed_methods, reason = "this is the one place that draws random bytes")]
pub(crate) fn hex<const BYTES: usize>() -> anyhow::Result<String> {
    let mut bytes = [0_u8; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
