// Package fault is a TCP proxy that does to a connection what networks do: cut
// it, reset it, let it hang, delay it, refuse it, or lose what the server says
// after it has done what it was asked.
//
// In comes the address of a server; out goes an address to give to a client. It
// is for tests and the kill rig, and looks at bytes only, so it serves any
// protocol without TLS.
package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy forwards connections to one server. All methods are safe for concurrent
// use.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup
	delayed  sync.WaitGroup // connections struck by Late

	mu      sync.Mutex
	closed  bool
	refuse  bool
	delay   time.Duration
	rule    *rule
	struck  [strikes]int
	lost    [][]byte // see LostReplies
	pairs   map[*pair]bool
	release chan struct{} // closed by Release, and made anew
}

// Strike is what is done to a connection at a certain word of the client.
type Strike uint8

const (
	// Swallow passes all that the client says; what the server says is lost from
	// then on. The connection ends when the client gives up.
	Swallow Strike = iota
	// Cut closes both ends; the server has heard what was said up to then.
	Cut
	// Reset is Cut by RST, in which what was under way is lost too.
	Reset
	// Hold passes nothing more to the server, and lets both ends wait.
	Hold
	// Late is Hold until Release: then the server hears all that the client has
	// said, also when the client has long gone.
	Late

	strikes
)

// rule says which connections are struck.
type rule struct {
	strike  Strike
	request []byte // part of the client's words
	after   int    // octets that the client says after them
	left    int    // connections still to be struck
}

// pair is the two ends of one connection.
type pair struct {
	client, server net.Conn
	// Guarded by Proxy.mu.
	mute bool   // the server's words are lost
	lost int    // index into Proxy.lost, while mute
	held bool   // the client's words are
	late []byte // those that the server is still to hear; nil: none are kept
	dead bool   // it is to be closed when what may pass has passed

	release  chan struct{} // of the proxy, when it was struck by Late
	answered chan struct{} // closed when the server has no more to say
}

// lostTail is how much of the end of a lost reply is kept.
const lostTail = 512

// reset makes the next close an RST.
func (c *pair) reset() {
	for _, end := range []net.Conn{c.client, c.server} {
		if tcp, ok := end.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
	}
}

func (c *pair) close() {
	c.client.Close()
	c.server.Close()
}

// Listen returns a proxy to target on a free port of this machine. Close ends it.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: l, pairs: map[*pair]bool{}, release: make(chan struct{})}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the host:port for clients.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut closes all connections and returns how many there were. New ones are
// taken.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.close()
	}
	return len(p.pairs)
}

// Refuse makes the proxy close new connections at once, or stop doing so.
// Connections that exist are left alone.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Delay holds back each piece of what either side says for d; 0 ends it.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Strike strikes the next n connections on which the client says request and then
// after more octets. It replaces what was to be struck before; n = 0 ends it.
func (p *Proxy) Strike(how Strike, request string, after, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = &rule{strike: how, request: []byte(request), after: after, left: n}
}

// Struck is how many connections have been struck in that way.
func (p *Proxy) Struck(how Strike) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.struck[how]
}

// Release lets the server hear what was struck by Late, and returns when it has
// answered or ended the connections.
func (p *Proxy) Release() {
	p.mu.Lock()
	close(p.release)
	p.release = make(chan struct{})
	p.mu.Unlock()
	p.delayed.Wait()
}

// SwallowReplies is Strike with Swallow.
func (p *Proxy) SwallowReplies(request string, after, n int) { p.Strike(Swallow, request, after, n) }

// CutRequests is Strike with Cut.
func (p *Proxy) CutRequests(request string, after, n int) { p.Strike(Cut, request, after, n) }

// RequestsCut is Struck with Cut.
func (p *Proxy) RequestsCut() int { return p.Struck(Cut) }

// Swallowed is Struck with Swallow.
func (p *Proxy) Swallowed() int { return p.Struck(Swallow) }

// LostReplies is what the server has said so far on each connection that was
// struck by SwallowReplies, in order of the strikes: the last 512 octets of it,
// none if the server was silent. It tells a request that was carried out from
// one that got lost itself.
func (p *Proxy) LostReplies() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([][]byte, len(p.lost))
	for i, b := range p.lost {
		all[i] = bytes.Clone(b)
	}
	return all
}

// Close ends all connections and waits for the proxy's goroutines.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	err := p.listener.Close()
	close(p.release)
	p.release = make(chan struct{})
	p.mu.Unlock()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	c := &pair{client: client, server: server, answered: make(chan struct{})}
	defer c.close()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.pairs[c] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	var both sync.WaitGroup
	both.Go(func() {
		p.copy(c, server, client, p.listen(c))
		p.sayLate(c)
		c.close()
	})
	both.Go(func() {
		defer close(c.answered)
		p.copy(c, client, server, p.forward(c))
		c.close()
	})
	both.Wait()
}

// copy passes on as many octets as say allows, until either side ends.
func (p *Proxy) copy(c *pair, to io.Writer, from io.Reader, say func([]byte) int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			delay := p.delay
			p.mu.Unlock()
			if delay > 0 {
				t := time.NewTimer(delay)
				<-t.C
			}
			if pass := say(buf[:n]); pass > 0 {
				if _, err := to.Write(buf[:pass]); err != nil {
					return
				}
			}
			p.mu.Lock()
			dead := c.dead
			p.mu.Unlock()
			if dead {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// sayLate tells the server, once it may, what was kept from it, and waits for a
// word of it. The client is gone.
func (p *Proxy) sayLate(c *pair) {
	p.mu.Lock()
	late, release := c.late != nil, c.release
	p.mu.Unlock()
	if !late {
		return
	}
	defer p.delayed.Done()
	<-release
	p.mu.Lock()
	words := c.late
	p.mu.Unlock()
	if _, err := c.server.Write(words); err == nil {
		t := time.NewTimer(lateAnswer)
		defer t.Stop()
		select {
		case <-c.answered:
		case <-t.C:
		}
	}
}

// lateAnswer is how long a server may take for an answer that nobody waits for.
const lateAnswer = time.Second

// listen watches what the client says, and returns how much of it may pass.
func (p *Proxy) listen(c *pair) func([]byte) int {
	var tail []byte // a request may come in two pieces
	heard := -1     // octets since it, -1 not yet
	return func(b []byte) int {
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.held {
			if c.late != nil {
				c.late = append(c.late, b...)
			}
			return 0
		}
		r := p.rule
		if r == nil || r.left == 0 || c.mute {
			tail, heard = nil, -1
			return len(b)
		}
		if heard >= 0 {
			heard += len(b)
		} else {
			tail = append(tail, b...)
			if i := bytes.Index(tail, r.request); i >= 0 {
				heard = len(tail) - i - len(r.request)
				tail = nil
			} else if keep := len(r.request) - 1; len(tail) > keep {
				tail = append([]byte(nil), tail[len(tail)-keep:]...)
			}
		}
		if heard < r.after {
			return len(b)
		}
		r.left--
		p.struck[r.strike]++
		pass := max(0, len(b)-(heard-r.after))
		switch r.strike {
		case Swallow:
			c.mute, c.lost = true, len(p.lost)
			p.lost = append(p.lost, nil)
			return len(b)
		case Hold:
			c.held = true
		case Late:
			c.held, c.late, c.release = true, append([]byte{}, b[pass:]...), p.release
			p.delayed.Add(1)
		case Reset:
			c.reset()
			c.dead = true
		case Cut:
			c.dead = true
		}
		return pass
	}
}

// forward passes what the server says unless the connection has been struck.
func (p *Proxy) forward(c *pair) func([]byte) int {
	return func(b []byte) int {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !c.mute {
			return len(b)
		}
		words := append(p.lost[c.lost], b...)
		p.lost[c.lost] = words[max(0, len(words)-lostTail):]
		return 0
	}
}
