package consume

import (
	"math/rand/v2"
	"testing"
)

func TestResume(t *testing.T) {
	whole := Log{First: 0, Next: 100, Known: 39}
	tests := []struct {
		name     string
		position Position
		log      Log
		from, to int64
		repeated bool
		suspect  int64 // blocks before this offset are
		unsaid   bool
		hole     Hole
	}{
		{"settled", Position{40, ""}, whole, 40, -1, false, 0, false, Hole{}},
		{"promised", Position{40, "reader=1 to=60"}, whole, 40, 60, true, 0, false, Hole{}},
		{"promised by another version", Position{40, "reader=2 to=60"}, whole, 40, 60, true, 60, false, Hole{}},
		{"promised while suspect", Position{40, "reader=1 to=60 suspect=5000"}, whole, 40, 60, true, 5000, false, Hole{}},
		{"settled while suspect", Position{40, "reader=1 suspect=5000"}, whole, 40, -1, false, 5000, false, Hole{}},
		{"never seen", Position{-1, ""}, Log{0, 100, -1}, 0, -1, false, MaxMessages, true, Hole{}},
		{"forgotten by Kafka", Position{-1, ""}, whole, 0, -1, false, 40 + MaxMessages, true, Hole{}},
		{"somebody else's words", Position{40, "checkpoint 7"}, whole, 40, -1, false, 40 + MaxMessages, false, Hole{}},
		{"retention", Position{40, ""}, Log{70, 100, 39}, 70, -1, false, 0, true, Hole{40, 70}},
		{"retention within the promise", Position{40, "reader=1 to=80"}, Log{70, 100, 39}, 70, -1, false, 80, false, Hole{40, 70}},
		{"retention past the promise", Position{40, "reader=1 to=60"}, Log{70, 100, 39}, 70, -1, false, 0, true, Hole{40, 70}},
		{"log shorter than the promise", Position{40, "reader=1 to=120"}, whole, 40, -1, false, 120, false, Hole{}},
		{"log shorter than what was read", Position{140, ""}, whole, 0, -1, false, 40 + MaxMessages, true, Hole{140, 100}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, hole := Resume(tt.position, tt.log)
			if m.From() != tt.from || m.To() != tt.to || m.Repeated() != tt.repeated || hole != tt.hole {
				t.Errorf("got [%d, %d) repeated %v hole %v, want [%d, %d) repeated %v hole %v",
					m.From(), m.To(), m.Repeated(), hole, tt.from, tt.to, tt.repeated, tt.hole)
			}
			if m.before != tt.suspect && !(tt.suspect == 0 && m.before <= m.from) {
				t.Errorf("suspect before %d, want %d", m.before, tt.suspect)
			}
			if m.to < 0 && m.unsaid != tt.unsaid && tt.suspect == 0 {
				t.Errorf("unsaid %v, want %v", m.unsaid, tt.unsaid)
			}
		})
	}
}

func TestPromiseText(t *testing.T) {
	for _, p := range []promise{{to: -1}, {to: 7, reader: 1}, {to: 0, before: 9, reader: 3}, {to: -1, before: 9, reader: 1}} {
		got, ok := parsePromise(p.String())
		if p.to < 0 && p.before == 0 {
			p.reader = -1
		}
		if !ok || got != p {
			t.Errorf("%q: got %+v %v, want %+v", p.String(), got, ok, p)
		}
	}
	for _, bad := range []string{"to=7", "reader=x to=7", "reader=1 to=-7", "reader=1 to=99999999999999999999", "7"} {
		if p, ok := parsePromise(bad); ok {
			t.Errorf("%q is taken for %+v", bad, p)
		}
	}
}

// TestCrashes runs the protocol against a store that, as ClickHouse does, knows
// tokens and rows, with a crash after any step, blocks that end where they like,
// and owners that believe for a while that the partition is still theirs.
func TestCrashes(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		const messages = 60
		var (
			position   = Position{Offset: -1}
			generation int
			rows       [messages]int
			tokens     = map[[2]int64]bool{}
			known      int64
		)
		known = -1
		store := func(from, to int64, suspect bool) {
			if tokens[[2]int64{from, to}] {
				return // the server drops it, and a count finds the rows
			}
			tokens[[2]int64{from, to}] = true
			for i := from; i < to; i++ {
				if !suspect || rows[i] == 0 {
					rows[i]++
				}
			}
		}
		type owner struct {
			*Machine
			generation int
		}
		var stale *owner // stopped after its promise, before its insert
		for position.Offset != messages {
			generation++
			m, hole := Resume(position, Log{First: 0, Next: messages, Known: known})
			if hole != (Hole{}) {
				t.Fatalf("seed %d: hole %v", seed, hole)
			}
			o := &owner{m, generation}
			for alive := true; alive && o.From() < messages; alive = rnd.IntN(5) > 0 {
				switch o.Step() {
				case Gather:
					to := o.To()
					if to < 0 {
						to = min(o.From()+1+rnd.Int64N(9), messages)
					}
					o.Gathered(to, false)
				case Promise:
					position = o.Commit() // fenced: only the newest generation gets here
					o.Promised()
					if rnd.IntN(8) == 0 && stale == nil {
						copied := *o.Machine
						stale = &owner{&copied, generation}
					}
				case Store:
					store(o.From(), o.To(), o.Suspect())
					if rnd.IntN(4) > 0 { // else: the crash is before `batches`
						known = o.To() - 1
						o.Stored()
					}
				}
				if stale != nil && rnd.IntN(6) == 0 {
					store(stale.From(), stale.To(), stale.Suspect()) // it wakes up; its next commit will fail
					stale = nil
				}
			}
			if o.Unsaid() && rnd.IntN(2) == 0 {
				position = o.Commit()
				o.Said()
			}
			if rnd.IntN(40) == 0 && stale == nil {
				position = Position{Offset: -1} // the group's offsets have expired
			}
		}
		if stale != nil {
			store(stale.From(), stale.To(), stale.Suspect())
		}
		for i, n := range rows {
			if n != 1 {
				t.Fatalf("seed %d: message %d stored %d times", seed, i, n)
			}
		}
	}
}

func FuzzParsePromise(f *testing.F) {
	for _, s := range []string{"", "reader=1 to=60", "reader=1 to=60 suspect=5000", "to=", "reader=1 x=\x00", "reader=-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parsePromise(s)
		if !ok {
			return
		}
		if again, ok := parsePromise(p.String()); !ok || again.to != p.to || again.before != p.before {
			t.Errorf("%q: %+v, then %+v", s, p, again)
		}
	})
}
