//! Hostile connections: silent, slow, closed, reset.

use super::{Behaviour, behaviour_of};
use crate::hostile::objects::{FEW, MANY, Meanwhile, Objects, Port};
use crate::hostile::script::{SECOND, Step, every_other, head, late, polite, text};

pub const CONNECTIONS: &[Behaviour] = &[
    behaviour_of("never-answers", |_| vec![Step::Silence], Objects { timeout_seconds: Some(300), ..MANY }),
    behaviour_of("drips", |_| vec![head("Content-Length: 1000000\r\n"), Step::Drip(" ", SECOND)], MANY),
    behaviour_of("closes-at-once", |_| vec![Step::Close], FEW),
    behaviour_of("resets", |_| vec![text("HTTP/1.1 200 OK\r\n"), Step::Reset], FEW),
    behaviour_of(
        "closes-in-body",
        |_| vec![head("Content-Length: 5000\r\n"), text("{\"result\":true,"), Step::Close],
        FEW,
    ),
    behaviour_of(
        "garbage-chunks",
        |_| vec![head("Transfer-Encoding: chunked\r\n"), text("FFFFFFFFFFFFFFFF;x\r\nz\r\n-1\r\n"), Step::Close],
        FEW,
    ),
    behaviour_of(
        "closes-after-each-answer",
        |_| [polite(), vec![Step::Close]].concat(),
        Objects { sets: 100, meanwhile: Meanwhile::Annotate(0, 20), max_concurrent: Some(100), ..FEW },
    ),
    behaviour_of("tls-stall", |_| polite(), Objects { port: Port::TlsStall, ..MANY }),
    behaviour_of("tls-garbage", |_| polite(), Objects { port: Port::TlsGarbage, ..FEW }),
    behaviour_of("20-s-a-call", |_| late(20), Objects { max_concurrent: Some(1), ..MANY }),
    behaviour_of("20-s-a-call-100-in-flight", |_| late(20), Objects { max_concurrent: Some(100), ..MANY }),
    behaviour_of("silent-every-other-call", |request| every_other(request, || vec![Step::Silence]), FEW),
    behaviour_of("100-silent-connections", |_| vec![Step::Silence], Objects { sets: 100, connections: 100, ..FEW }),
];
