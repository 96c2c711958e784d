//! A chain ends with the first certificate that it can't do without.

use super::super::{FixedIdentity, Identities, Material, NoIdentity};
use super::ca::{Ca, Odd, Pair};
use super::verify;
use crate::clock::{self, pretend};
use mesh_core::WallTime;
use rcgen::KeyPair;
use std::time::Duration;
use tokio::time::sleep;

/// A root, and a certificate of an hour, signed by one of the root's that has several certificates of one key.
struct World {
    root: Ca,
    key: KeyPair,
    own: Pair,
}

impl World {
    fn new() -> Self {
        let (root, key) = (Ca::new(), KeyPair::generate().unwrap());
        let own = root.sign(&key, 600).issue(Odd::default());
        Self { root, key, own }
    }

    /// The certificate with those of who signed it, each for so many seconds from now.
    fn chain(&self, between: &[i64]) -> String {
        let between = between.iter().map(|until| self.root.sign(&self.key, *until).pem());
        std::iter::once(self.own.chain.clone()).chain(between).collect()
    }

    fn material(&self, chain: &str) -> Material {
        self.root.material(&Pair { chain: chain.to_owned(), ..self.own.clone() })
    }

    /// In how many seconds a chain ends.
    fn end(&self, chain: &str) -> u64 {
        let identity = verify(self.material(chain), None).unwrap();
        let end = identity.validity().not_after.as_unix_seconds();
        end - clock::wall().as_unix_seconds()
    }
}

#[test]
fn the_first_end_of_what_is_needed_counts() {
    let world = World::new();
    let check = |chain: &str, expected: u64| {
        let end = world.end(chain);
        assert!((expected - 10..=expected).contains(&end), "{end}, not {expected}");
    };
    check(&world.chain(&[7200]), 3600);
    check(&world.chain(&[600]), 600);
    // One of the same key stands in its place, in whichever order they were shown.
    check(&world.chain(&[600, 1200]), 1200);
    check(&world.chain(&[1200, 600]), 1200);
    check(&world.chain(&[600, 7200, 1200]), 3600);
    // What is not needed ends nothing: one that is nobody's issuer here.
    let other = Ca::new().sign(&KeyPair::generate().unwrap(), 300);
    check(&format!("{}{}", world.chain(&[7200]), other.pem()), 3600);
    // Without roots there is nothing to lead to.
    let foreign = world.material(&world.chain(&[600])).with_foreign_roots();
    let identity = verify(foreign, None).unwrap();
    assert_eq!(identity.validity(), identity.certificate().validity);
}

/// Warnings, the end, and failing closed are those of the chain.
#[tokio::test(start_paused = true)]
async fn what_is_in_force_ends_with_its_chain() {
    let (world, began) = (World::new(), clock::wall());
    pretend(began);
    let (source, _updates) = FixedIdentity::new(Some(world.material(&world.chain(&[600]))));
    let identities = Identities::new(None);
    let running = identities.clone();
    let task = tokio::spawn(async move { running.run(Box::new(source)).await });
    sleep(Duration::from_millis(10)).await;
    let end = identities.status().not_after.unwrap();
    assert!(end < WallTime::from_unix_seconds(began.as_unix_seconds() + 602), "{end}");
    assert!(identities.current().is_ok());
    // Of 3600 + 600 seconds a tenth is left; of the certificate alone it would be four tenths.
    sleep(Duration::from_secs(300)).await;
    assert_eq!(identities.status().warned, Some(10));
    sleep(Duration::from_secs(310)).await;
    let refused = identities.current().unwrap_err();
    assert!(matches!(refused, NoIdentity::Expired { .. }), "{refused}");
    task.abort();
}
