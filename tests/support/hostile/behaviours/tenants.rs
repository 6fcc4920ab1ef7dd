//! Hostile objects, with a CMDB that is well-behaved or silent.

use super::{Behaviour, behaviour_of};
use crate::hostile::objects::{FEW, Meanwhile, Objects, Secret};
use crate::hostile::script::{Step, late, polite};

const TWENTY: Objects = Objects { sets: 20, ..FEW };

const FIVE_CONNECTIONS: Objects = Objects { connections: 5, ..TWENTY };

const NO_SECRET: Objects = Objects { sets: 150, secret: Secret::Missing, ..FEW };

const NO_SECRET_SAME_BUSINESS: Objects = Objects { uses_healthy_cmdb: true, ..NO_SECRET };

pub const TENANTS: &[Behaviour] = &[
    behaviour_of("140-sets-of-1-mb", |_| polite(), Objects { sets: 140, bytes: 1_000_000, ..FEW }),
    behaviour_of("20-sets-of-500-processes", |_| polite(), Objects { processes: 500, ..TWENTY }),
    behaviour_of("20-edits-a-second", |_| polite(), Objects { meanwhile: Meanwhile::EditSets(20), ..TWENTY }),
    behaviour_of(
        "20-annotations-a-second",
        |_| polite(),
        Objects { meanwhile: Meanwhile::Annotate(20_000, 20), ..TWENTY },
    ),
    behaviour_of(
        "10-sets-recreated-a-second",
        |_| polite(),
        Objects { sets: 40, meanwhile: Meanwhile::Recreate(10), ..FEW },
    ),
    behaviour_of("150-sets-without-secret", |_| polite(), NO_SECRET),
    behaviour_of("150-sets-without-secret-in-same-business", |_| polite(), NO_SECRET_SAME_BUSINESS),
    behaviour_of(
        "edits-without-secret-in-same-business",
        |_| polite(),
        Objects { sets: 50, meanwhile: Meanwhile::EditSets(20), ..NO_SECRET_SAME_BUSINESS },
    ),
    behaviour_of(
        "connections-edited-each-second",
        |_| polite(),
        Objects { meanwhile: Meanwhile::EditConnections, ..FIVE_CONNECTIONS },
    ),
    behaviour_of(
        "connection-urls-changed-each-second",
        |_| late(5),
        Objects { meanwhile: Meanwhile::ChangeUrls, ..FIVE_CONNECTIONS },
    ),
    behaviour_of(
        "secret-rotated-each-second",
        |_| polite(),
        Objects { meanwhile: Meanwhile::RotateSecret, ..FIVE_CONNECTIONS },
    ),
    behaviour_of(
        "secret-rotated-at-silent-cmdb",
        |_| vec![Step::Silence],
        Objects { meanwhile: Meanwhile::RotateSecret, ..FIVE_CONNECTIONS },
    ),
    behaviour_of("40-sets-with-same-processes", |_| polite(), Objects { sets: 40, is_contended: true, ..FEW }),
];
