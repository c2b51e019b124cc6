//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use super::error::{SandboxError, io};

/// A port nobody listens on: the remembered one when it is still free, else one the system chooses. Between this answer and its use
/// somebody else may take it, so whoever starts a server tries again with another.
pub fn free(remembered: Option<u16>) -> Result<u16, SandboxError> {
    if let Some(port) = remembered
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("looking for a free port on 127.0.0.1"))?;
    Ok(listener.local_addr().map_err(io("looking for a free port on 127.0.0.1"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_port_is_kept_while_it_is_free_and_left_when_it_is_taken() {
        let port = free(None).unwrap();
        assert_eq!(free(Some(port)).unwrap(), port);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(free(Some(port)).unwrap(), port);
    }
}
