//! The flows that are swept: whole honest histories, which together lead into every state. What happens is given in
//! groups; a group begins when nothing is left to do.

use crate::effort::tells;
use crate::support::world::{Client, Habit, How, Move, Return, Said, Setup, World};

#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub name: &'static str,
    pub setup: Setup,
    /// The instance that receives the callback.
    back_at: usize,
    groups: &'static [&'static [Move]],
    /// The first requests that name this, so many, get another answer than the honest one.
    meets: Option<(&'static str, How, u8)>,
}

const fn says(said: Said) -> Move {
    Move::Resource { at: 0, said }
}

const REFUSED: Move = says(Said::Unauthorized);
const USED: Move = says(Said::Honest);
const WANTED: Move = says(Said::Wanted);
const LACKS: Move = says(Said::Forbidden(1));
const LATER: Move = Move::Wait(700);

const fn flow(
    name: &'static str,
    client: Client,
    habits: u8,
    groups: &'static [&'static [Move]],
) -> Flow {
    Flow {
        name,
        setup: Setup {
            client,
            instances: 1,
            habits,
            lenient: false,
        },
        back_at: 0,
        groups,
        meets: None,
    }
}

const fn at_two(flow: Flow) -> Flow {
    let setup = Setup {
        instances: 2,
        ..flow.setup
    };
    Flow {
        setup,
        back_at: 1,
        ..flow
    }
}

const fn meeting(flow: Flow, request: &'static str, how: How, times: u8) -> Flow {
    Flow {
        meets: Some((request, how, times)),
        ..flow
    }
}

const LIFE: &[&[Move]] = &[
    &[USED],
    &[USED, LACKS],
    &[LATER, WANTED],
    &[LATER, REFUSED],
    &[Move::SignOut(0)],
];
const POLLED: Move = Move::Wait(6);
const OTHER_DEVICE: &[&[Move]] = &[
    &[USED],
    &[POLLED],
    &[USED, LACKS],
    &[POLLED],
    &[LATER, WANTED],
    &[Move::SignOut(0)],
];
const MOVED: &[&[Move]] = &[
    &[USED],
    &[USED, Move::Names(2), REFUSED, REFUSED],
    &[LATER, WANTED],
    &[USED, Move::Lists(1, 0), REFUSED],
];
const FORGOTTEN: &[&[Move]] = &[
    &[USED],
    &[Move::Forgets(0), LATER, WANTED],
    &[Move::Forgets(0), LACKS],
    &[Move::Reset(0), LACKS],
];
const LISTED: &[&[Move]] = &[
    &[Move::Lists(2, 0), USED],
    &[LATER, WANTED],
    &[Move::Lists(1, 2), REFUSED],
];
const GIVEN_UP: &[&[Move]] = &[
    &[USED],
    &[Move::Cancel(0), Move::Click(0)],
    &[Move::Cancel(0), Move::Click(0)],
    &[Move::Cancel(0), Move::Click(0)],
];
const SPENT: &[&[Move]] = &[&[USED], &[Move::Click(0)]];
const KEPT: &[&[Move]] = &[&[USED], &[Move::Crash { at: 0, keeps: true }, WANTED]];

pub const FLOWS: &[Flow] = &[
    flow("life, dynamic", Client::Dynamic, 0, LIFE),
    flow("life, document", Client::Document, 0, LIFE),
    flow("life, registered", Client::Registered, 0, LIFE),
    flow("life, unbound", Client::Unbound, 0, LIFE),
    flow("life, bound to a key", Client::Bound, 0, LIFE),
    flow("life, credentials", Client::Credentials, 0, LIFE),
    flow("life, key", Client::Key, 0, LIFE),
    flow("life, workload", Client::Workload, 0, LIFE),
    flow("life, enterprise", Client::Enterprise, 0, LIFE),
    flow("life, pushed", Client::Dynamic, Habit::Pushed.bit(), LIFE),
    flow(
        "life, other device",
        Client::Dynamic,
        Habit::OtherDevice.bit(),
        OTHER_DEVICE,
    ),
    flow(
        "life, form first",
        Client::Dynamic,
        Habit::FormFirst.bit(),
        LIFE,
    ),
    flow(
        "life, odd refusals",
        Client::Document,
        Habit::OddRefusals.bit(),
        LIFE,
    ),
    flow(
        "life, foreign scopes",
        Client::Document,
        Habit::ForeignScopes.bit(),
        LIFE,
    ),
    flow(
        "life, no step-ups",
        Client::Dynamic,
        Habit::NoStepUps.bit(),
        LIFE,
    ),
    flow("moved, dynamic", Client::Dynamic, 0, MOVED),
    flow(
        "moved, registered",
        Client::Registered,
        Habit::KeptForADay.bit(),
        MOVED,
    ),
    flow("moved, workload", Client::Workload, 0, MOVED),
    flow("two listed", Client::Document, 0, LISTED),
    flow("two listed, dynamic", Client::Dynamic, 0, LISTED),
    meeting(
        flow("a refresh that rests", Client::Dynamic, 0, LIFE),
        "refresh_token",
        How::Busy(503),
        1,
    ),
    meeting(
        flow("given up three times", Client::Document, 0, GIVEN_UP),
        "redirect",
        How::Forgotten,
        3,
    ),
    flow("two listed, workload", Client::Workload, 0, LISTED),
    flow("forgotten", Client::Dynamic, 0, FORGOTTEN),
    flow(
        "forgotten, pushed",
        Client::Dynamic,
        Habit::Pushed.bit(),
        FORGOTTEN,
    ),
    flow(
        "forgotten, no step-ups",
        Client::Dynamic,
        Habit::NoStepUps.bit(),
        FORGOTTEN,
    ),
    flow(
        "a new process",
        Client::Document,
        Habit::KeptForADay.bit(),
        KEPT,
    ),
    at_two(flow("two instances", Client::Dynamic, 0, MOVED)),
    at_two(flow("a spent redirect", Client::Dynamic, 0, SPENT)),
    at_two(flow(
        "two instances, pushed",
        Client::Document,
        Habit::Pushed.bit(),
        LIFE,
    )),
];

/// A flow on its way.
pub struct Run {
    pub world: World,
    flow: Flow,
    group: usize,
    met: u8,
}

impl Run {
    pub fn new(flow: Flow) -> Self {
        Self::on(flow, World::new(flow.setup))
    }

    pub fn on(flow: Flow, world: World) -> Self {
        Self {
            world,
            flow,
            group: 0,
            met: 0,
        }
    }

    /// After so many honest steps.
    pub fn after(flow: Flow, steps: usize) -> Self {
        let mut run = Self::new(flow);
        for _ in 0..steps {
            run.step();
        }
        run
    }

    /// One honest step; false at the end.
    pub fn step(&mut self) -> bool {
        match self.world.honest() {
            Some(Move::Return { visit, how, .. }) => {
                let at = self.flow.back_at;
                self.world.apply(Move::Return { visit, at, how });
                if how == Return::Honest {
                    // An error page may have been all that came of it.
                    self.world.leave(visit);
                }
                true
            }
            Some(next) => {
                let next = self.answered(next);
                self.tell(next);
                self.world.apply(next);
                true
            }
            None => {
                let Some(group) = self.flow.groups.get(self.group) else {
                    return false;
                };
                self.group += 1;
                for next in *group {
                    self.tell(*next);
                    self.world.apply(*next);
                }
                true
            }
        }
    }

    /// Says a step, when one case alone was asked for.
    pub fn tell(&self, next: Move) {
        if tells("PROOF_CASES") {
            println!("{next:?} {}", self.world.next_action(next));
        }
    }

    fn answered(&mut self, next: Move) -> Move {
        match (self.flow.meets, next) {
            (Some((request, how, times)), Move::Answer { at, action, .. })
                if self.met < times
                    && self
                        .world
                        .requested(at)
                        .unwrap_or_default()
                        .contains(request) =>
            {
                self.met += 1;
                Move::Answer { at, action, how }
            }
            (_, next) => next,
        }
    }

    /// Honestly to the end; what has no end is cut.
    pub fn finish(&mut self) {
        for _ in 0..400 {
            if !self.step() {
                return;
            }
        }
    }
}
