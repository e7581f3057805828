//! Agents and strangers at the gate, without a socket: who has the secret gets in, and nobody else does.

use super::*;
use crate::sys::fuzz::{Random, fuzz, within};

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

/// A gate, and an agent that has read the first thing that it says.
fn meet(key: Option<&PoolKey>) -> (Gate, Option<Tls>, [u8; 32]) {
    let mut gate = Gate::new(key).unwrap();
    let Some(key) = key else {
        let number = gate.unsent()[MARK.len()..].try_into().unwrap();
        return (gate, None, number);
    };
    let mut tls = Tls::connect(Some(key.pin)).unwrap();
    let nobody = secret(0);
    for _ in 0..2 {
        assert!(gate.hear(&tls.unsent(), &nobody).unwrap().is_none());
        assert_eq!(tls.hear(&gate.unsent(), &mut [0; MOST], 0).unwrap(), 0);
    }
    assert!(gate.hear(&tls.unsent(), &nobody).unwrap().is_none());
    let binding = tls.binding().unwrap();
    assert_eq!(binding, gate.binding().unwrap());
    (gate, Some(tls), binding)
}

fn hello() -> Vec<u8> {
    codec::to_bytes(&Hello { nonce: [3; 32], ticket: Some([4; 16]), greeting: Greeting::own() })
}

/// What goes over the socket when an agent says this.
fn raw(tls: &mut Option<Tls>, said: &[u8]) -> Vec<u8> {
    let Some(tls) = tls else { return said.to_vec() };
    tls.say(said).unwrap();
    tls.unsent()
}

fn keys() -> [Option<PoolKey>; 2] {
    [None, Some(PoolKey::generate().unwrap())]
}

#[test]
fn who_has_the_secret_is_known_however_its_message_is_cut() {
    for key in keys() {
        let (mut gate, mut tls, binding) = meet(key.as_ref());
        let (secret, body) = (secret(1), hello());
        let raw = raw(&mut tls, &message(&secret.prove(Side::Agent, &binding, &body), &body));
        let (last, before) = raw.split_last().unwrap();
        for byte in before {
            assert!(gate.hear(&[*byte], &secret).unwrap().is_none());
        }
        let visitor = gate.hear(&[*last], &secret).unwrap().unwrap();
        assert_eq!(visitor.hello.ticket, Some([4; 16]));
        assert!(secret.is_proof(Side::Pool, &binding, &body, &visitor.proof));
    }
}

#[test]
fn who_has_another_secret_or_comes_from_another_conversation_is_refused() {
    for key in keys() {
        let body = hello();
        let (_, _, elsewhere) = meet(key.as_ref());
        for is_elsewhere in [false, true] {
            let (mut gate, mut tls, here) = meet(key.as_ref());
            let (has, binding) = if is_elsewhere { (secret(1), elsewhere) } else { (secret(2), here) };
            let raw = raw(&mut tls, &message(&has.prove(Side::Agent, &binding, &body), &body));
            let refused = gate.hear(&raw, &secret(1)).unwrap_err();
            assert_eq!(refused, Refusal::Agent("it has another secret than this pool".to_owned()));
            gate.refuse("no");
            let mut answer = gate.unsent();
            if let Some(tls) = &mut tls {
                let mut said = [0; MOST];
                let len = tls.hear(&answer, &mut said, 0).unwrap();
                answer = said[..len].to_vec();
            }
            let answer = split(&answer).unwrap().unwrap().body;
            assert_eq!(codec::from_bytes::<Answer>(answer).unwrap(), Answer::Refused("no".to_owned()));
        }
    }
}

#[test]
fn the_proof_of_an_agent_is_none_of_a_pool() {
    let (secret, body) = (secret(1), hello());
    let (mut gate, _, number) = meet(None);
    let reflected = message(&secret.prove(Side::Pool, &number, &body), &body);
    assert!(matches!(gate.hear(&reflected, &secret), Err(Refusal::Agent(_))));
}

#[test]
fn another_pin_is_refused_and_the_pool_hears_of_it() {
    let key = PoolKey::generate().unwrap();
    let mut gate = Gate::new(Some(&key)).unwrap();
    let mut tls = Tls::connect(Some([9; 32])).unwrap();
    gate.hear(&tls.unsent(), &secret(1)).unwrap();
    let error = tls.hear(&gate.unsent(), &mut [0; MOST], 0).unwrap_err();
    assert!(what_is_wrong(&error).contains("another key than the pin says"), "{error}");
    assert!(matches!(gate.hear(&tls.unsent(), &secret(1)), Err(Refusal::Agent(cause)) if cause.contains("pin")));
}

#[test]
fn a_key_is_known_by_its_pin_and_never_made_twice() {
    let [a, b] = [PoolKey::generate().unwrap(), PoolKey::generate().unwrap()];
    assert_ne!(a.pin, b.pin);
}

/// Bytes that a stranger may say: of an agent, and then spoilt, or any.
fn spoilt(random: &mut Random, sound: &[u8]) -> Vec<u8> {
    let mut bytes = if random.once_in(4) { random.bytes(200) } else { sound.to_vec() };
    random.spoil(&mut bytes);
    bytes
}

#[test]
fn whatever_a_stranger_says_without_encryption() {
    let secret = secret(1);
    fuzz(
        || (),
        |(), random| {
            let (mut gate, _, number) = meet(None);
            let body = hello();
            let sound = message(&secret.prove(Side::Agent, &number, &body), &body);
            let bytes = spoilt(random, &sound);
            let heard = within(16 * bytes.len() + (16 << 10), &bytes, || gate.hear(&bytes, &secret));
            // Who says what an agent says is one; and whatever else is known was said by an agent as well.
            assert!(bytes != sound || matches!(heard, Ok(Some(_))));
            assert!(!matches!(heard, Ok(Some(_))) || bytes.starts_with(&sound), "{bytes:?}");
        },
    );
}

#[test]
fn whatever_a_stranger_says_with_encryption() {
    let (key, secret) = (PoolKey::generate().unwrap(), secret(1));
    let sound = Tls::connect(Some(key.pin)).unwrap().unsent();
    fuzz(
        || (),
        |(), random| {
            let mut bytes = spoilt(random, &sound);
            // What was not changed would take a signature each time, which proves nothing.
            if bytes == sound {
                bytes.truncate(random.below(bytes.len()));
            }
            let mut gate = Gate::new(Some(&key)).unwrap();
            let cut = random.below(bytes.len() + 1);
            let heard = within(256 << 10, &bytes, || {
                gate.hear(&bytes[..cut], &secret)?;
                gate.hear(&bytes[cut..], &secret)
            });
            assert!(!matches!(heard, Ok(Some(_))), "a stranger was let in");
        },
    );
}

#[test]
fn whatever_a_pool_answers() {
    let sound = message(&[7; 32], &codec::to_bytes(&Answer::Refused("cause".to_owned())));
    fuzz(
        || (),
        |(), random| {
            let bytes = spoilt(random, &sound);
            let _ = within(16 * bytes.len() + 4096, &bytes, || match split(&bytes) {
                Ok(Some(Part { body, end, .. })) => {
                    assert!(end <= bytes.len());
                    codec::from_bytes::<Answer>(body).is_ok()
                }
                _ => false,
            });
        },
    );
}
