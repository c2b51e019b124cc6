//! Client tokens: what makes an API answer a repeated create with what it made the first time.

use sha2::{Digest, Sha256};

/// `token` in a shape every API takes: 36 characters of `0-9a-f-` (ECS takes 1–36 printable characters, Secrets Manager 32–64). The
/// same token always gives the same text.
pub fn client_token(token: &str) -> String {
    if token.len() == 36 && token.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return token.to_owned();
    }
    let hex = hex(&Sha256::digest(token.as_bytes()));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_becomes_36_characters_and_stays_the_same() {
        let uuid = "0190b6a0-1111-7222-8333-444455556666";
        assert_eq!(client_token(uuid), uuid);
        for token in ["a", "op-12/step-3/attempt-1", &"x".repeat(200)] {
            assert_eq!(client_token(token).len(), 36);
            assert_eq!(client_token(token), client_token(token));
        }
        assert_ne!(client_token("a"), client_token("b"));
    }
}
