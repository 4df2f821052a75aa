package console

import (
	"crypto/rand"
	"crypto/subtle"
	"strconv"
	"sync"
	"time"
)

const (
	sessionLength = 12 * time.Hour
	sessionIdle   = 2 * time.Hour
	maxSessions   = 1000
)

// session is one login. The name of it is in the cookie only.
type session struct {
	user  string
	csrf  string
	began time.Time
	used  time.Time
}

// sessions are the logins of this process; a restart ends them. The zero value
// is ready.
type sessions struct {
	mu  sync.Mutex
	all map[string]*session
}

// begin makes a session of a user and returns its name. When there are too many the one
// that was not used for longest ends.
func (s *sessions) begin(user string, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*session{}
	}
	var oldest string
	for name, x := range s.all {
		if x.over(now) {
			delete(s.all, name)
		} else if oldest == "" || x.used.Before(s.all[oldest].used) {
			oldest = name
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
	name := rand.Text()
	s.all[name] = &session{user: user, csrf: rand.Text(), began: now, used: now}
	return name
}

func (x *session) over(now time.Time) bool {
	return now.Sub(x.began) > sessionLength || now.Sub(x.used) > sessionIdle
}

func (s *sessions) get(name string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.all[name]
	if x == nil {
		return session{}, false
	}
	if x.over(now) {
		delete(s.all, name)
		return session{}, false
	}
	x.used = now
	return *x, true
}

func (s *sessions) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, name)
}

const (
	freeFailures = 4 // wrong passwords before there is a wait
	maxWait      = 15 * time.Minute
	forgetAfter  = time.Hour
	maxAddresses = 10_000
)

// lockout makes an address wait after wrong passwords: 1 s, 2 s, 4 s … up to
// maxWait. The zero value is ready.
type lockout struct {
	mu  sync.Mutex
	all map[string]*failures
}

type failures struct {
	n     int
	last  time.Time
	until time.Time
}

// wait is how long from has to wait now.
func (l *lockout) wait(from string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.all[from]; f != nil {
		return max(f.until.Sub(now), 0)
	}
	return 0
}

// fail counts a wrong password and returns the wait that follows.
func (l *lockout) fail(from string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]*failures{}
	}
	f := l.all[from]
	if f == nil {
		if len(l.all) >= maxAddresses {
			l.makeRoom(now)
		}
		f = &failures{}
		l.all[from] = f
	}
	if now.Sub(f.last) > forgetAfter {
		f.n = 0
	}
	f.n++
	f.last = now
	if f.n <= freeFailures {
		return 0
	}
	wait := maxWait
	if shift := f.n - freeFailures - 1; shift < 10 {
		wait = min(time.Second<<shift, maxWait)
	}
	f.until = now.Add(wait)
	return wait
}

// makeRoom forgets who is forgotten anyway, or else the one who failed least.
func (l *lockout) makeRoom(now time.Time) {
	var least string
	for from, f := range l.all {
		if now.Sub(f.last) > forgetAfter {
			delete(l.all, from)
		} else if least == "" || f.n < l.all[least].n {
			least = from
		}
	}
	if len(l.all) >= maxAddresses {
		delete(l.all, least)
	}
}

func (l *lockout) forgive(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, from)
}

// knownPasswords spares scripts the slow check of names and passwords that were
// good before; it keeps keyed sums of them, one for each user.
type knownPasswords struct {
	mu   sync.Mutex
	sums map[string][32]byte
}

func (k *knownPasswords) is(name string, sum [32]byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	have, ok := k.sums[name]
	return ok && subtle.ConstantTimeCompare(have[:], sum[:]) == 1
}

func (k *knownPasswords) set(name string, sum [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sums == nil {
		k.sums = map[string][32]byte{}
	}
	k.sums[name] = sum
}

// seconds rounds a wait up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
