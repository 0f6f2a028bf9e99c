//! Messages of an operator, each behind its length in two bytes: changes are whole or none, and no leadership that is over is believed.
#![no_main]

use authz::channel::fuzzing::Plane;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut plane = Plane::default();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (message, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        let (epoch, before) = (plane.epoch(), plane.resources());
        let taken = plane.take(message);
        assert!(plane.epoch() >= epoch, "a leadership that is over");
        match taken {
            Some(Ok(Some(snapshot))) => {
                let policies = plane.resources().iter().filter(|(name, _)| name.starts_with("policy/")).count();
                assert!(snapshot.entries().len() <= policies, "a policy that nobody sent");
            }
            Some(Ok(None) | Err(_)) | None => assert_eq!(plane.resources(), before, "half a change is in force"),
        }
        if message.is_empty() {
            plane.begin();
        }
    }
});
