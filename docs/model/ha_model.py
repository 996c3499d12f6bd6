#!/usr/bin/env python3
"""Exhaustive breadth-first check of the pair protocol, bounded. Rules: docs/design/{replication,takeover}.md.

  ha_model.py [--quick] [--only NAME] [--list]

State: two data nodes with a log, a durable register (reign, holder, insync), the highest epoch seen, `stale` and the
arbitration that they obey (W: witness, N: none, X: limbo, neither); two one-way links; a witness register that can be
away, lost or rolled back; read leases; faults: power loss that drops what was not synced, links that come and go, lost
answers of the witness, an operator's force-solo. A node may do nothing for as long as it likes (frozen).

Invariants, in every reachable state:
 1 every acknowledged operation is durable on EVERY member of the insync of the register in force;
 2 no acknowledged operation is ever discarded; 3 no epoch has two primaries;
 4 a read that is served reflects every operation acknowledged before.
 While two branches exist (all paths cut while both nodes run, or force-solo, or a witness rolled back behind a reign
 that a node has not heard of: `forked`), 1 is: durable on the union of both; 4 is suspended. The admission that ends it restores both.
Liveness: from every reachable state, once faults end and links heal, a state is reachable in which both are insync: with
 the witness back in office, and also when it never comes back.
Each mutant takes one rule out and must be caught: the rule is needed, and the model has teeth.
Time is abstract: a grant of a read lease ends by a step of its own, for granter and holder together (the holder counts
from before, so it ends first); a standby that hears its primary decides that it is stale before that goes alone.
"""
import argparse, sys, time
from collections import deque, namedtuple

A, B = 0, 1
NAME = 'AB'
Node = namedtuple('Node', 'up role mode ep log dur matched reg stale arb gave lease')
State = namedtuple('State', 'a b ab ba wa wb wup W old fly acked lost forked ops crashes links wfaults operator')
Run = namedtuple('Run', 'name wit ops crashes links wfaults operator leases mutant live cap')

MUTANTS = {
 'ack-before-fsync': 'standby acknowledges a record that is only in memory',
 'solo-unrecorded': 'primary acknowledges alone before the smaller insync is recorded',
 'join-acks-alone': 'primary goes on acknowledging alone while a standby is being admitted',
 'promote-unchecked': 'standby takes over without being in insync',
 'promote-without-swap': 'standby with a witness takes over on silence alone, without the compare-and-swap',
 'resume-on-boot': 'a restarted primary goes on in its old role',
 'admit-before-copy': 'standby is put into insync before its copy is durable',
 'no-fencing': 'standby at a newer epoch still acknowledges an old primary, keeping nothing',
 'never-stale': 'without a witness: a standby that still hears its primary does not distrust itself',
 'resume-stale': 'without a witness: a node whose last reign was a pair leads when it boots alone',
 'wrong-election': 'two nodes without a primary: the longer log leads, whatever the registers say',
 'give-up-in-doubt': 'a joining primary reads its old reign at the witness and goes alone, its swap still under way',
 'resume-by-read': 'a holder that boots goes on alone on reading its reign at the witness, without a swap',
 'merge-discard': 'after a split the branch of the lower epoch is set aside as if never acknowledged',
 'taken-before-durable': 'the branch is called taken over before it is durable at the leader',
 'retire-keeps-register': 'a node whose branch was taken over restarts empty, but with its old register',
 'retire-insync': 'a branch is retired while the register still counts that node as insync',
 'one-parity': 'without a witness: both nodes count epochs up by one',
 'serve-without-lease': 'primary in a pair serves reads without a lease',
 'joining-unleased': 'primary serves without a lease while its swap of the admission is in doubt',
 'promote-leased': 'standby takes over while a lease that it gave may live',
 'grant-while-promoting': 'standby grants a lease after its swap was sent, and takes the reign up with it',
 'forget-grant': 'a standby that boots forgets the lease that it gave',
 'goodbye-of-the-living': 'goodbye is said for a primary that still runs',
 'switch-primary-first': 'witness gone: the primary leaves it first, the standby later',
 'switch-standby-first': 'witness gone: the standby obeys no witness at once, then the primary: no limbo',
 'return-primary-first': 'witness back: seeded, then the primary obeys it, then the standby: no limbo',
 'return-unseeded': 'witness back: the pair obeys it without seeding it',
 'branched-waits': 'a primary in a pair whose peer has a branch cannot do without a witness that is gone',
 'trust-rolled-back': 'a node obeys a witness that holds less than the node has seen',
}

def next_epoch(seen, i, mut=None):
    """The lowest epoch above `seen` that node i may open: A even ones, B odd ones."""
    return seen + 1 if mut == 'one-parity' or (seen + 1) % 2 == i else seen + 2

def bits(log):
    m = 0
    for op in log: m |= 1 << op
    return m

def common(x, y):
    p = 0
    while p < len(x) and p < len(y) and x[p] == y[p]: p += 1
    return p

def initial(r):
    reg = (2, A, 3); arb = 'W' if r.wit else 'N'
    a = Node(1, 'P', 'PAIR', 2, (), 0, 0, reg, 0, arb, 0, 0)
    b = Node(1, 'S', 'PAIR', 2, (), 0, 0, reg, 0, arb, 0, 0)
    w = 1 if r.wit else 0
    return State(a, b, 1, 1, w, w, w, reg if r.wit else None, None, None, 0, 0, 0, 0, r.crashes, r.links, r.wfaults, r.operator)

def in_force(s):
    """The newest register that somebody obeys."""
    best = max(s.a.reg, s.b.reg)
    if s.W and s.W > best and any(n.arb == 'W' and s.W[0] >= n.ep for n in (s.a, s.b)): best = s.W
    return best

def broken(s, r):
    a, b = s.a, s.b
    if s.acked & s.lost: return 'an acknowledged operation was discarded'
    da, db = bits(a.log[:a.dur]), bits(b.log[:b.dur])
    if s.acked & ~(da | db): return 'an acknowledged operation is durable nowhere'
    if a.role == b.role == 'P' and a.ep == b.ep: return 'two primaries in epoch %d' % a.ep
    if s.forked: return None
    reg = in_force(s)
    for i, d in ((A, da), (B, db)):
        if reg[2] >> i & 1 and s.acked & ~d: return 'acknowledged, but not durable on insync member %s' % NAME[i]
    if r.leases:
        for i, n in ((A, a), (B, b)):
            if n.up and n.role == 'P' and reads(n, r) and s.acked & ~bits(n.log): return '%s serves a stale read' % NAME[i]
    return None

def reads(n, r):
    if n.mode == 'SOLO' or n.lease or r.mutant == 'serve-without-lease': return True
    return n.mode == 'JOIN' and r.mutant == 'joining-unleased'

def paired(s, witness):
    """Both insync and agreed, the primary able to acknowledge with both."""
    for p, q in ((s.a, s.b), (s.b, s.a)):
        if p.up and q.up and p.role == 'P' and q.role == 'S' and p.mode == q.mode == 'PAIR' and p.reg == q.reg \
           and p.ep == q.ep and not q.stale and p.arb == q.arb and q.log == p.log[:len(q.log)] \
           and (p.arb == 'W' and s.W == p.reg if witness else p.arb == 'N'): return True
    return False

def swap(s, new):
    return dict(W=new, old=s.W if s.wfaults else None)

def moves(s, r):
    mut = r.mutant; n = (s.a, s.b)
    session = s.a.up and s.b.up and s.ab and s.ba
    def trusted(i):      # the witness answers node i, and holds no less than i has seen
        return s.wup and (s.wb if i else s.wa) and s.W is not None and (s.W[0] >= n[i].ep or mut == 'trust-rolled-back')
    def put(i, me, pe=None, **kw):
        pe = n[1 - i] if pe is None else pe
        return s._replace(a=me, b=pe, **kw) if i == A else s._replace(a=pe, b=me, **kw)
    if s.links:
        k = s.links - 1
        yield 'link A>B flips', s._replace(ab=1 - s.ab, links=k)
        yield 'link B>A flips', s._replace(ba=1 - s.ba, links=k)
        if r.wit:
            yield 'link A-W flips', s._replace(wa=1 - s.wa, links=k)
            yield 'link B-W flips', s._replace(wb=1 - s.wb, links=k)
            yield ('witness goes away' if s.wup else 'witness is back'), s._replace(wup=1 - s.wup, links=k)
    if s.wfaults and s.W is not None:
        yield 'witness loses its file', s._replace(W=None, fly=None, wfaults=s.wfaults - 1)
        if s.old and s.old != s.W:
            blind = any(m.arb == 'W' and m.ep <= s.old[0] for m in n)
            yield 'witness is rolled back', s._replace(W=s.old, fly=None, wfaults=s.wfaults - 1, forked=1 if blind else s.forked)
    if s.fly:            # a swap whose answer never comes arrives late, once, or never
        expect, new = s.fly
        yield 'swap to %s arrives' % (new,), s._replace(fly=None, **(swap(s, new) if s.W and s.W[0] == expect else {}))
    for i in (A, B):
        j = 1 - i; me, pe = n[i], n[j]; nm = NAME[i] + ' '
        up, role, mode, ep, log, dur, matched, reg, stale, arb, gave, lease = me
        if gave: yield nm + 'lease given ends', put(i, me._replace(gave=0), pe._replace(lease=0))
        if pe.gave and (not up or mut == 'goodbye-of-the-living') and (s.ba if i else s.ab):
            yield nm + 'guardian says goodbye', put(i, me, pe._replace(gave=0))
        if not up:
            yield nm + 'restarts', put(i, me._replace(up=1)); continue
        if s.crashes:
            keep = mut == 'resume-on-boot'
            yield nm + 'loses power', put(i, me._replace(up=0, role=role if keep else 'R', mode=mode if keep else '-', log=log[:dur],
                matched=0, lease=0, gave=0 if mut == 'forget-grant' else gave), crashes=s.crashes - 1)
        if dur < len(log): yield nm + 'fsync', put(i, me._replace(dur=len(log)))
        hears = pe.up and (s.ab if i else s.ba)
        if role == 'P':
            yield from primary(s, r, i, me, pe, nm, session, hears, trusted, put)
            continue
        clear = dict(matched=0, stale=0, lease=0)
        # An operator forces a node that waits. What the peer has and this node lacks comes back by merge.
        if s.operator and not gave and not (session and pe.role == 'P'):
            e = next_epoch(ep, i, mut)
            yield nm + 'is forced solo', put(i, me._replace(role='P', mode='SOLO', ep=e, reg=(e, i, 1 << i), arb='N', **clear),
                forked=1, operator=s.operator - 1)
        # Read lease: given by a standby of this epoch, over both directions of the link.
        if r.leases and role == 'S' and session and pe.role == 'P' and pe.ep == ep and pe.mode != 'SOLO' and not (gave and pe.lease):
            yield nm + 'grants a lease', put(i, me._replace(gave=1), pe._replace(lease=1))
        free = not gave
        if arb == 'W' and trusted(i):
            W = s.W
            if W[1] == i and (free or mut in ('grant-while-promoting', 'promote-leased')):
                # By a swap, never by the mere reading: one of an admission may still be under way.
                e = W[0] if mut == 'resume-by-read' else next_epoch(W[0], i, mut); new = (e, i, W[2])
                yield nm + 'takes its reign up', put(i, me._replace(role='P', mode='SOLO' if W[2] == 1 << i else 'PAIR', ep=e, reg=new, **clear), **swap(s, new))
            if W[1] != i and (W[2] >> i & 1 or mut == 'promote-unchecked') and (free or mut == 'promote-leased'):
                e = next_epoch(W[0], i, mut); new = (e, i, 1 << i)
                yield nm + 'promotes', put(i, me._replace(role='P', mode='SOLO', ep=e, reg=new, **clear), **swap(s, new))
                yield nm + 'promotes, swap under way', s._replace(fly=(W[0], new))
        if (arb == 'N' or (arb == 'W' and mut == 'promote-without-swap')) and role == 'S':
            led = hears and pe.role == 'P'
            if arb == 'N' and not session and led and not stale and mut != 'never-stale':
                yield nm + 'hears its primary: stale', put(i, me._replace(stale=1))
            entitled = mode == 'PAIR' and reg[2] == 3 and not stale or mut == 'promote-unchecked'
            silent = not session and (not led or mut == 'never-stale')
            if entitled and silent and (free or mut == 'promote-leased'):
                e = next_epoch(ep, i, mut); two = pe.up and pe.role == 'P' and not led
                yield nm + 'promotes by evidence', put(i, me._replace(role='P', mode='SOLO', ep=e, reg=(e, i, 1 << i), **clear), forked=1 if two else s.forked)
        if arb == 'N' and role == 'R' and not session and not stale and reg[0] == ep and not (hears and pe.role == 'P') \
           and (reg[1:] == (i, 1 << i) or mut == 'resume-stale'):
            e = next_epoch(ep, i, mut)
            yield nm + 'goes on alone after boot', put(i, me._replace(role='P', mode='SOLO', ep=e, reg=(e, i, 1 << i), **clear))
        # Election: neither leads, the two talk, and the witness entitles neither (away, or it names a node in limbo).
        if session and pe.role != 'P' and not any(n[x].arb == 'W' and trusted(x) and (s.W[2] >> x & 1 or s.W[1] == x) for x in (A, B)) and rank(me, i, mut) > rank(pe, j, mut):
            e = next_epoch(max(ep, pe.ep), i, mut)
            if pe.role == 'R' and pe.stale and pe.ep > ep and pe.ep % 2 == i and pe.arb != 'W':
                yield nm + 'leads: the peer follows', put(i, me._replace(role='P', mode='SOLO', ep=pe.ep, reg=(pe.ep, i, 1 << i), arb='N', **clear))
            else:
                yield nm + 'asks to lead, peer follows', put(i, me, pe._replace(role='R', mode='-', ep=e, stale=1, arb='N' if pe.arb == 'N' else 'X', lease=0))

def rank(x, i, mut):
    """Who was part of the later reign, and insync in it, has everything."""
    last = x.log[-1] if x.log else -1
    if mut == 'wrong-election': return (len(x.log), -i)
    return (x.reg[0], x.reg[2] >> i & 1, x.role == 'S', last, len(x.log), -i)

def primary(s, r, i, me, pe, nm, session, hears, trusted, put):
    mut = r.mutant; j = 1 - i; W = s.W
    up, role, mode, ep, log, dur, matched, reg, stale, arb, gave, lease = me
    if s.ops < r.ops: yield nm + 'appends %d' % s.ops, put(i, me._replace(log=log + (s.ops,)), ops=s.ops + 1)
    alone = mode == 'SOLO' or (mode == 'JOIN' and mut == 'join-acks-alone')
    new = bits(log[:dur if alone else min(dur, matched)]) & ~s.acked
    if new: yield nm + 'acks in ' + mode, s._replace(acked=s.acked | new)
    if hears and pe.ep > ep and (pe.role == 'P' or session):
        yield nm + 'steps down', put(i, me._replace(role='R', mode='-', ep=pe.ep, matched=0, lease=0))
    follows = session and pe.role == 'S' and pe.ep == ep and log[:len(pe.log)] == pe.log
    # It led alone and has what this log lacks: it says so, follows nobody and leads no more.
    branched = session and pe.role != 'P' and pe.ep <= ep and pe.reg[1:] == (j, 1 << j) and common(log, pe.log) < len(pe.log) and mut != 'branched-waits'
    if follows:
        if len(pe.log) < len(log): yield nm + 'ships', put(i, me, pe._replace(log=log))
        m = len(pe.log) if mut == 'ack-before-fsync' else pe.dur
        if m > matched: yield nm + 'hears durable=%d' % m, put(i, me._replace(matched=m))
    if session and pe.ep > ep and mut == 'no-fencing' and matched < len(log): yield nm + 'hears a blind ack', put(i, me._replace(matched=len(log)))
    solo_next = next_epoch(max(ep, W[0] if W and arb == 'W' else 0), i, mut)
    # Going alone.
    if mode in ('PAIR', 'JOIN'):
        if mut == 'solo-unrecorded': yield nm + 'goes solo silently', put(i, me._replace(mode='SOLO'))
        if arb == 'W' and trusted(i) and W == reg:
            doubt = s.fly and s.fly[1][1:] == (i, 3)   # an admission's swap may still arrive: only a swap of its own voids it
            if mode == 'JOIN' and (not doubt or mut == 'give-up-in-doubt'): yield nm + 'gives the admission up', put(i, me._replace(mode='SOLO'))
            else:
                nw = (solo_next, i, 1 << i)
                yield nm + 'solo swap', put(i, me._replace(mode='SOLO', ep=solo_next, reg=nw, lease=0), **swap(s, nw))
                yield nm + 'solo swap under way', s._replace(fly=(W[0], nw))
        if arb == 'N':
            heard = s.ba if i else s.ab
            waits = pe.up and pe.role == 'S' and pe.mode == 'PAIR' and not pe.stale
            if mode == 'JOIN' and not follows: yield nm + 'gives the admission up', put(i, me._replace(mode='SOLO'))
            elif mode == 'PAIR' and ((not session and (not waits or not heard or mut == 'never-stale')) or (session and pe.role == 'R') or branched):
                e = next_epoch(ep, i, mut)
                yield nm + 'goes solo', put(i, me._replace(mode='SOLO', ep=e, reg=(e, i, 1 << i), lease=0), forked=1 if waits and not heard else s.forked)
    if arb == 'W' and trusted(i):
        if W[1] == i and W[0] > reg[0]: yield nm + 'finds its reign at the witness', put(i, me._replace(mode='SOLO' if W[2] == 1 << i else 'PAIR', ep=W[0], reg=W, matched=0, lease=0))
        if W[1] != i and W[0] > reg[0]: yield nm + 'is deposed by the witness', put(i, me._replace(role='R', mode='-', ep=max(ep, W[0]), matched=0, lease=0))
    # A returning peer: its branch first, then the copy, then the admission.
    if session and pe.role != 'P' and pe.ep <= ep:
        p = common(log, pe.log); tail = pe.log[p:]; t = bits(tail); have = bits(log[:dur])
        if tail and pe.reg[1:] == (j, 1 << j) and mut != 'merge-discard':
            if mode == 'SOLO' or mut == 'retire-insync':
                if t & ~bits(log): yield nm + "takes the peer's branch in", put(i, me._replace(log=log + tuple(o for o in tail if not bits(log) >> o & 1)))
                elif not t & ~have or mut == 'taken-before-durable':
                    keep = mut == 'retire-keeps-register'
                    yield NAME[j] + ' is told Taken: restarts empty', put(i, me, pe._replace(log=(), dur=0, matched=0, role='R', mode='-',
                        reg=pe.reg if keep else (0, i, 1 << i), stale=0 if keep else 1, ep=pe.reg[0] if keep else pe.ep, arb=pe.arb if keep or pe.arb == 'N' else 'X'), lost=s.lost | t & ~have, forked=0)
        elif (pe.role == 'R' or pe.ep < ep or tail or (pe.stale and pe.mode == 'PAIR')) :
            yield NAME[j] + ' joins', put(i, me._replace(matched=0), pe._replace(role='S', mode='JOIN', ep=ep, log=log[:p], dur=min(pe.dur, p), matched=0, stale=1), lost=s.lost | t)
    if follows and mode == 'SOLO' and pe.mode == 'JOIN': yield nm + 'starts the admission', put(i, me._replace(mode='JOIN'))
    copied = not s.acked & bits(log) & ~bits(log[:min(dur, matched)]) or mut == 'admit-before-copy'
    if follows and mode == 'JOIN' and copied:
        e = solo_next; nw = (e, i, 3)
        done = me._replace(mode='PAIR', ep=e, reg=nw, matched=0, lease=0)
        if arb == 'N': yield nm + 'admits', put(i, done)
        elif arb == 'W' and trusted(i) and W == reg:
            yield nm + 'admits by swap', put(i, done, **swap(s, nw)); yield nm + 'admits by swap, under way', s._replace(fly=(W[0], nw))
    if session and mode == 'PAIR' and pe.role == 'S' and pe.ep <= ep and log[:len(pe.log)] == pe.log and pe.dur <= dur and (pe.reg != reg or pe.ep != ep or pe.stale or pe.arb != arb or pe.mode != 'PAIR'):
        yield nm + 'says Admit', put(i, me, pe._replace(ep=ep, reg=reg, stale=0, mode='PAIR', arb=arb), forked=0)
    # Arbitration: the standby goes into limbo durably, then the primary changes, then the standby (by Admit).
    if (follows or branched or (session and pe.role == 'R' and pe.ep <= ep)) and arb == 'W' and not trusted(i):
        if mut == 'switch-primary-first': yield nm + 'obeys no witness', put(i, me._replace(arb='N'))
        elif pe.arb == 'W':
            x = 'N' if mut == 'switch-standby-first' else 'X'
            yield NAME[j] + ' leaves the witness (%s)' % x, put(i, me, pe._replace(arb=x))
        else: yield nm + 'obeys no witness', put(i, me._replace(arb='N'))
    if follows and arb == 'N' and mode == 'PAIR' and pe.reg == reg and pe.mode == 'PAIR' and not pe.stale and s.wup and (s.wb if i else s.wa):
        if W != reg and mut != 'return-unseeded':
            if W and W[0] >= ep: yield nm + 'opens an epoch above the witness', put(i, me._replace(ep=next_epoch(W[0], i), reg=(next_epoch(W[0], i), i, 3), matched=0, lease=0))
            else: yield nm + 'seeds the witness', s._replace(**swap(s, reg))
        elif pe.arb == 'N' and mut not in ('return-primary-first',): yield NAME[j] + ' goes into limbo', put(i, me, pe._replace(arb='X'))
        else: yield nm + 'obeys the witness', put(i, me._replace(arb='W'))

def trace(seen, s):
    t = []
    while seen[s]: s, what = seen[s]; t.append(what)
    return t[::-1]

def check(r):
    """(states, what is wrong or None, trace)"""
    s0 = initial(r); seen = {s0: None}; q = deque([s0]); top = (8 if r.mutant else 6) + 2 * (r.crashes + r.links + r.wfaults + r.operator)
    acks = set()
    while q:
        s = q.popleft()
        for what, t in moves(s, r):
            if t in seen or max(t.a.ep, t.b.ep, t.W[0] if t.W else 0) > top: continue
            seen[t] = (s, what)
            if ' acks ' in what: acks.add(what[-4:])
            b = broken(t, r)
            if b: return len(seen), b, trace(seen, t)
            if len(seen) > r.cap: return len(seen), 'more than %d states' % r.cap, []
            q.append(t)
    if not r.mutant and r.ops and not {'SOLO', 'PAIR'} <= acks: return len(seen), 'nothing was acknowledged in %s' % ({'SOLO', 'PAIR'} - acks), []
    total = len(seen)
    for witness in ((True, False) if r.wit else (False,)) if r.live else ():
        n, b, tr = live(r, seen, witness, top + 12)
        total += n
        if b: return total, b, tr
    return total, None, []

def live(r, seen, witness, top):
    """From every state, after the faults, a pair can come about: backwards from the good states."""
    h = r._replace(ops=0)
    origin = {}; back = {}; good = []; q = deque()
    for s in seen:
        t = s._replace(ab=1, ba=1, wa=1, wb=1, wup=1 if witness else 0, crashes=0, links=0, wfaults=0, operator=0, ops=0, forked=0, old=None,
            a=s.a._replace(gave=0, lease=0), b=s.b._replace(gave=0, lease=0))
        if t not in origin: origin[t] = s; back[t] = []; q.append(t)
    h = h._replace(leases=False)
    while q:
        s = q.popleft()
        if paired(s, witness): good.append(s)
        for _, t in moves(s, h):
            if max(t.a.ep, t.b.ep, t.W[0] if t.W else 0) > top: continue
            if t not in back: back[t] = []; q.append(t)
            back[t].append(s)
    ok = set(good); q = deque(good)
    while q:
        for p in back[q.popleft()]:
            if p not in ok: ok.add(p); q.append(p)
    for t, s in origin.items():
        if t not in ok: return len(back), 'no pair can come about %s the witness: %s' % ('with' if witness else 'without', t), trace(seen, s)
    return len(back), None, []

def runs(quick):
    R = lambda name, wit, ops, crashes, links, wfaults=0, operator=0, leases=False, mutant=None, live=True, cap=8_000_000: \
        Run(name, wit, ops, crashes, links, wfaults, operator, leases, mutant, live, cap)
    # Bounds under which each mutant shows itself: ops, crashes, links, wfaults, operator.
    W, N, L = (True, False), (False, False), (True, True)
    small = {
     'ack-before-fsync': (W, 1, 1, 0, 0, 0), 'solo-unrecorded': (W, 1, 0, 0, 0, 0), 'join-acks-alone': (W, 1, 0, 0, 0, 0),
     'promote-unchecked': (W, 1, 0, 0, 0, 0), 'promote-without-swap': (W, 1, 1, 2, 0, 0), 'resume-on-boot': (N, 1, 2, 1, 0, 0),
     'admit-before-copy': (W, 1, 0, 0, 0, 0), 'no-fencing': (W, 1, 0, 0, 0, 0), 'never-stale': (N, 1, 1, 2, 0, 0),
     'resume-stale': (N, 1, 2, 1, 0, 0), 'wrong-election': (N, 2, 2, 2, 0, 0), 'give-up-in-doubt': (W, 1, 0, 0, 0, 0),
     'resume-by-read': (W, 1, 1, 0, 0, 0), 'merge-discard': (N, 1, 0, 2, 0, 0), 'taken-before-durable': (N, 2, 1, 2, 0, 0),
     'retire-keeps-register': (N, 2, 1, 2, 0, 0), 'retire-insync': (N, 2, 0, 4, 0, 1), 'one-parity': (N, 1, 0, 2, 0, 0),
     'serve-without-lease': (L, 1, 0, 0, 0, 0), 'joining-unleased': (L, 1, 0, 0, 0, 0), 'promote-leased': (L, 1, 0, 0, 0, 0),
     'grant-while-promoting': (L, 1, 0, 0, 0, 0), 'forget-grant': (L, 1, 1, 0, 0, 0), 'goodbye-of-the-living': (L, 1, 0, 0, 0, 0),
     'switch-primary-first': (W, 1, 0, 3, 0, 0), 'switch-standby-first': (W, 1, 1, 3, 0, 0), 'return-primary-first': (W, 1, 1, 3, 0, 0),
     'return-unseeded': (W, 0, 0, 1, 0, 0), 'trust-rolled-back': (W, 1, 0, 1, 1, 0), 'branched-waits': (W, 1, 1, 0, 0, 0),
    }
    #               name                            witness ops crashes links wfaults operator
    if quick:
        yield R('witness, power loss',                  True, 1, 1, 0, live=False)
        yield R('witness, links',                       True, 1, 0, 1)
        yield R('witness, no operations, all faults',   True, 0, 1, 1, live=False)
        yield R('witness lost or rolled back',          True, 1, 0, 0, wfaults=1, live=False)
        yield R('witness, read leases',                 True, 1, 0, 1, leases=True, live=False)
        yield R('no witness, two operations, merge',    False, 2, 1, 2)
        yield R('no witness, links',                    False, 1, 0, 3)
        yield R('no witness, force-solo',               False, 1, 1, 2, operator=1)
        yield R('no witness, read leases',              False, 1, 1, 2, leases=True, live=False)
    else:
        yield R('witness, power loss and links',        True, 1, 1, 1)
        yield R('witness, two operations',              True, 2, 1, 0)
        yield R('witness, power losses',                True, 1, 2, 0)
        yield R('witness, links',                       True, 1, 0, 2, live=False)
        yield R('witness, no operations, links',        True, 0, 0, 2)
        yield R('witness lost or rolled back',          True, 1, 0, 1, wfaults=1)
        yield R('witness lost or rolled back, crash',   True, 1, 1, 0, wfaults=1)
        yield R('witness, force-solo',                  True, 1, 0, 1, operator=1)
        yield R('witness, read leases',                 True, 1, 1, 1, leases=True, live=False)
        yield R('no witness, two operations, merge',    False, 2, 2, 3)
        yield R('no witness, links',                    False, 1, 1, 4)
        yield R('no witness, force-solo',               False, 2, 1, 3, operator=1)
        yield R('no witness, force-solo twice',         False, 1, 1, 2, operator=2)
        yield R('no witness, read leases',              False, 2, 2, 2, leases=True, live=False)
    for m in MUTANTS:
        if quick and m == 'branched-waits': continue   # its million states take minutes
        (wit, leases), *v = small[m]
        yield R('mutant', wit, *v, leases=leases, mutant=m, live=m in ('return-unseeded', 'branched-waits'))

def main():
    ap = argparse.ArgumentParser(); ap.add_argument('--quick', action='store_true'); ap.add_argument('--only'); ap.add_argument('--list', action='store_true')
    ap.add_argument('--try', dest='one', help='wit,ops,crashes,links,wfaults,operator,leases,mutant,live')
    o = ap.parse_args()
    if o.one:
        f = o.one.split(','); v = [int(x) for x in f[:7]]
        rs = [Run('try', bool(v[0]), *v[1:6], bool(v[6]), f[7] or None, bool(int(f[8])), 8_000_000)]
    else: rs = [r for r in runs(o.quick) if not o.only or o.only in (r.name, r.mutant)]
    if o.list:
        for m, what in MUTANTS.items(): print('%-24s %s' % (m, what))
        return
    if not rs: sys.exit('nothing is called that: see --list')
    rc = 0
    for r in rs:
        t = time.process_time(); n, b, tr = check(r)
        bad = bool(b) != bool(r.mutant)
        print('%-34s %9d states %6.1f s  %s' % (r.name + (' / ' + r.mutant if r.mutant else ''), n, time.process_time() - t, b or 'holds'), flush=True)
        if b and (bad or o.one or o.only): print('    trace: ' + '; '.join(tr))
        rc |= bad
    sys.exit(rc)

if __name__ == '__main__':
    main()
