//! What a handshake is made with as pairs come and time goes by.

use super::ca::{Ca, Pair};
use crate::clock;
use crate::identity::Credentials;
use crate::tls::client_material::Kept;
use mesh_core::WallTime;
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::ResolvedIdentity;

#[tokio::test]
async fn a_pair_that_is_not_valid_takes_the_place_of_none_that_is() {
    let (ca, now, kept) = (Ca::new("ours"), clock::wall(), Kept::default());
    let pair = |serial, life| ca.issue_for("spiffe://mesh.example/client", serial, life);
    let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
    let at = |pair: &Pair, seconds: u64| {
        let certificate = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
        let identity = ResolvedIdentity::Certificate(certificate);
        let now = WallTime::from_unix_seconds(now.as_unix_seconds() + seconds);
        let kept = &kept;
        async move {
            match kept.own(&identity, &Credentials::default(), now).await {
                Ok(own) => own.unwrap().certificate().serial.to_string(),
                Err(error) => error.to_string(),
            }
        }
    };
    let (early, over) = (pair(0x12, (60, 600)), pair(0x13, (-60, -30)));
    let good = pair(0x11, (-60, 90));
    for (pair, seconds, expected) in [
        (&early, 0, "begins in "),
        (&over, 0, "ended 30 s ago"),
        (&good, 0, "11"),
        (&early, 1, "11"),
        (&over, 2, "11"),
        // Its time has come, and then that of the one before is over.
        (&early, 70, "12"),
        (&over, 100, "12"),
        (&over, 700, "ended "),
        (&good, 700, "ended "),
        (&good, 80, "11"),
    ] {
        let found = at(pair, seconds).await;
        assert!(found.contains(expected), "{seconds}: {found}, not {expected}");
    }
}
