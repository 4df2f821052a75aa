// Package fault is a TCP proxy that does to a connection what networks do: cut
// it, delay it, refuse it, or lose what the server says after it has done what
// it was asked.
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

	mu       sync.Mutex
	closed   bool
	refuse   bool
	delay    time.Duration
	swallow  *swallow
	swallows int
	cuts     int
	lost     [][]byte // see LostReplies
	pairs    map[*pair]bool
}

// swallow is what makes replies disappear.
type swallow struct {
	request []byte // part of the client's words
	after   int    // octets that the client sends after them, at least
	left    int    // connections still to be struck
	cut     bool   // they are cut instead, before the server has heard all
}

// pair is the two ends of one connection.
type pair struct {
	client, server net.Conn
	mute           bool // the server's words are lost; guarded by Proxy.mu
	struck         int  // index into Proxy.lost, while mute
}

// lostTail is how much of the end of a lost reply is kept.
const lostTail = 512

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
	p := &Proxy{target: target, listener: l, pairs: map[*pair]bool{}}
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

// SwallowReplies strikes the next n connections on which the client says request
// and then at least after more octets: the server hears all of it, and the
// client never hears from the server again. The connection ends when the client
// gives up.
func (p *Proxy) SwallowReplies(request string, after, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = &swallow{request: []byte(request), after: after, left: n}
}

// CutRequests strikes as SwallowReplies does, but closes the connection: what
// was said after the first octets does not reach the server, nor any answer the
// client. Each of the two replaces the other.
func (p *Proxy) CutRequests(request string, after, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = &swallow{request: []byte(request), after: after, left: n, cut: true}
}

// RequestsCut is how many connections have been struck by CutRequests.
func (p *Proxy) RequestsCut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Swallowed is how many connections have been struck by SwallowReplies.
func (p *Proxy) Swallowed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallows
}

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
	c := &pair{client: client, server: server}
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
	both.Go(func() { p.copy(c, server, client, p.listen(c)); c.close() })
	both.Go(func() { p.copy(c, client, server, p.forward(c)); c.close() })
	both.Wait()
}

// copy passes on what say allows, until either side ends.
func (p *Proxy) copy(c *pair, to io.Writer, from io.Reader, say func([]byte) bool) {
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
			if say(buf[:n]) {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// listen watches what the client says, all of which passes but what is cut.
func (p *Proxy) listen(c *pair) func([]byte) bool {
	var tail []byte // a request may come in two pieces
	heard := -1     // octets since it, -1 not yet
	return func(b []byte) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		s := p.swallow
		if s == nil || s.left == 0 || c.mute {
			tail, heard = nil, -1
			return true
		}
		if heard >= 0 {
			heard += len(b)
		} else {
			tail = append(tail, b...)
			if i := bytes.Index(tail, s.request); i >= 0 {
				heard = len(tail) - i - len(s.request)
				tail = nil
			} else if keep := len(s.request) - 1; len(tail) > keep {
				tail = append([]byte(nil), tail[len(tail)-keep:]...)
			}
		}
		if heard >= s.after && s.cut {
			s.left--
			p.cuts++
			c.close()
			return false
		}
		if heard >= s.after {
			c.mute, c.struck = true, len(p.lost)
			p.lost = append(p.lost, nil)
			s.left--
			p.swallows++
		}
		return true
	}
}

// forward passes what the server says unless the connection has been struck.
func (p *Proxy) forward(c *pair) func([]byte) bool {
	return func(b []byte) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.mute {
			words := append(p.lost[c.struck], b...)
			p.lost[c.struck] = words[max(0, len(words)-lostTail):]
		}
		return !c.mute
	}
}
