package ipfix

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second // a collector that takes nothing for so long is gone
)

// Run connects, sends what the sinks encode until ctx ends, then what is left for at most Config.Drain, and returns nil. A collector
// that cannot be reached is tried again and again; what the queue cannot hold meanwhile is counted as dropped.
func (x *Exporter) Run(ctx context.Context) error {
	defer x.leave()
	security, err := x.cfg.TLS.Config()
	if err != nil {
		return fmt.Errorf("export ipfix: %w", err)
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(x.cfg.Drain, end) })()

	s := &session{x: x, domains: make(map[uint32]*domain)}
	defer func() {
		if m := s.pending; m != nil {
			x.lose(&x.lost.end, m.flows, m.packets, m.octets)
			x.free <- m
		}
	}()
	retry := backoff.Backoff{Max: 15 * time.Second}
	for {
		conn, err := x.dial(life, security)
		if err == nil {
			if x.failing.Swap(false) {
				x.log.Info("ipfix collector is there again", "address", x.cfg.Address)
			}
			retry = backoff.Backoff{Max: 15 * time.Second}
			err = s.run(ctx, life, conn)
			conn.Close()
			if err == nil {
				return nil
			}
		}
		if life.Err() != nil || ctx.Err() != nil && len(x.queue) == 0 && s.pending == nil {
			return nil
		}
		x.sent.errors.Add(1)
		if !x.failing.Swap(true) {
			x.log.Warn("ipfix collector cannot be reached; records that do not fit the queue are dropped and counted", "err", err)
		}
		if retry.Wait(life) != nil {
			return nil
		}
	}
}

// leave counts what is left in the queue; sinks lose what comes later.
func (x *Exporter) leave() {
	x.failing.Store(true)
	close(x.ended)
	for {
		select {
		case m := <-x.queue:
			x.lose(&x.lost.end, m.flows, m.packets, m.octets)
			x.free <- m
		default:
			return
		}
	}
}

func (x *Exporter) dial(ctx context.Context, security *tls.Config) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	var conn net.Conn
	var err error
	if security != nil {
		conn, err = (&tls.Dialer{NetDialer: &d, Config: security}).DialContext(ctx, "tcp", x.cfg.Address)
	} else {
		conn, err = d.DialContext(ctx, x.cfg.Transport, x.cfg.Address)
	}
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("connect to ipfix collector %s: %w", x.cfg.Address, err), "check ipfix.address, and that the collector listens")
	}
	return conn, nil
}

// session is the exporting process's side of one transport session after another.
type session struct {
	x       *Exporter
	conn    net.Conn
	domains map[uint32]*domain
	pending *message // could not be sent by the session before
	buf     []byte
}

// domain is what an observation domain has been told in this session, and what was sent for it in all.
type domain struct {
	id       uint32
	told     bool   // options templates
	shapes   uint32 // templates
	ifaces   int
	sequence uint32 // data records in this session, options included

	messages, records, octets uint64
}

// run sends until the connection fails or everything is sent after ctx ended; then it returns nil.
func (s *session) run(ctx, life context.Context, conn net.Conn) error {
	s.conn = conn
	for _, d := range s.domains {
		d.told, d.shapes, d.ifaces, d.sequence = false, 0, 0, 0
	}
	defer context.AfterFunc(life, func() { conn.Close() })()
	gone := make(chan error, 1)
	if !s.udp() { // a collector says nothing: what can be read is the end
		go func() {
			_, err := io.Copy(io.Discard, conn)
			if err == nil {
				err = io.EOF
			}
			gone <- err
		}()
		defer func() { conn.Close(); <-gone }()
	}
	templates, statistics := time.NewTicker(s.x.cfg.Templates), time.NewTicker(s.x.cfg.Statistics)
	defer templates.Stop()
	defer statistics.Stop()
	if m := s.pending; m != nil {
		if err := s.send(m); err != nil {
			return err
		}
		s.pending = nil
		s.x.free <- m
	}
	stopping := ctx.Done()
	for {
		var m *message
		if stopping == nil { // what is left, then the end
			select {
			case m = <-s.x.queue:
			default:
				return s.tellStatistics()
			}
		}
		if m == nil {
			select {
			case m = <-s.x.queue:
			case <-stopping:
				stopping = nil
				continue
			case err := <-gone:
				gone <- err
				return fmt.Errorf("ipfix collector %s has closed the connection: %w", s.x.cfg.Address, err)
			case <-templates.C:
				if s.udp() {
					for _, d := range s.domains {
						d.told, d.ifaces = false, 0
						if err := s.announce(d, d.shapes, d.shapes, len(s.x.interfacesFrom(0))); err != nil {
							return err
						}
					}
				}
				continue
			case <-statistics.C:
				if err := s.tellStatistics(); err != nil {
					return err
				}
				continue
			}
		}
		if err := s.send(m); err != nil {
			s.pending = m
			return err
		}
		s.x.free <- m
	}
}

func (s *session) udp() bool { return s.x.cfg.Transport == "udp" }

// send sends a message of flows after the templates and interfaces it needs. Over UDP a refused message is counted and nil is
// returned, and the templates are told again: the collector may have been started anew.
func (s *session) send(m *message) error {
	d := s.domains[m.domain]
	if d == nil {
		d = &domain{id: m.domain}
		s.domains[m.domain] = d
	}
	err := s.announce(d, m.shapes&^d.shapes, d.shapes|m.shapes, m.ifaces)
	if err == nil {
		err = s.write(d, m.buf, uint32(m.flows))
	}
	switch {
	case err == nil:
		d.records += m.flows
		s.x.sent.records.Add(m.flows)
	case s.udp() && !errors.Is(err, net.ErrClosed):
		s.x.sent.errors.Add(1)
		s.x.lose(&s.x.lost.send, m.flows, m.packets, m.octets)
		d.told, d.shapes, d.ifaces = false, 0, 0
		return nil
	}
	return err
}

// announce tells the templates of the shapes in tell, the options templates if that has not been done, and interfaces up to number ifaces.
func (s *session) announce(d *domain, tell, all uint32, ifaces int) error {
	w := setWriter{s: s, d: d}
	for i := range s.x.layouts {
		if tell&(1<<i) != 0 {
			w.add(setTemplate, 0, appendTemplate(s.buf[:0], firstTemplate+uint16(i), s.x.layouts[i]))
		}
	}
	if !d.told {
		for _, id := range slices.Sorted(maps.Keys(options)) {
			if id != samplingTemplate || s.x.cfg.SamplePackets > 1 {
				w.add(setOptions, 0, appendOptions(s.buf[:0], id))
			}
		}
		if n := s.x.cfg.SamplePackets; n > 1 {
			b := binary.BigEndian.AppendUint64(s.buf[:0], 1)
			b = binary.BigEndian.AppendUint16(b, systematicCountBased)
			b = binary.BigEndian.AppendUint32(b, 1)
			w.add(samplingTemplate, 1, binary.BigEndian.AppendUint32(b, n-1))
		}
	}
	if d.ifaces < ifaces {
		names := s.x.interfacesFrom(d.ifaces)
		for i, name := range names {
			b := binary.BigEndian.AppendUint32(s.buf[:0], uint32(d.ifaces+i+1))
			w.add(interfaceTemplate, 1, appendText(b, name, s.x.text))
		}
		ifaces = d.ifaces + len(names)
	} else {
		ifaces = d.ifaces
	}
	if err := w.close(); err != nil {
		return err
	}
	d.told, d.shapes, d.ifaces = true, all, ifaces
	return nil
}

// tellStatistics sends the options records of all domains.
func (s *session) tellStatistics() error {
	x := s.x
	for _, d := range s.domains {
		w := setWriter{s: s, d: d}
		u64 := binary.BigEndian.AppendUint64
		b := binary.BigEndian.AppendUint32(s.buf[:0], d.id)
		w.add(statisticsTemplate, 1, u64(u64(u64(b, d.messages), d.records), d.octets))
		b = binary.BigEndian.AppendUint32(s.buf[:0], 1) // this exporting process
		b = u64(b, x.lost.queue.Load()+x.lost.send.Load()+x.lost.end.Load())
		b = u64(u64(b, x.notSent.packets.Load()), x.notSent.octets.Load())
		w.add(processTemplate, 1, u64(b, milliseconds(x.started)))
		if err := w.close(); err != nil && !s.udp() {
			return err
		}
	}
	return nil
}

// setWriter puts records into sets and sets into messages of the greatest length.
type setWriter struct {
	s    *session
	d    *domain
	buf  []byte
	set  int    // offset of the last set
	id   uint16 // of it
	data uint32 // data records in buf
	err  error
}

// add appends a record to a set with the number id; data is 1 for a data record. record may be in session.buf.
func (w *setWriter) add(id uint16, data uint32, record []byte) {
	w.s.buf = record
	if len(w.buf) > 0 && len(w.buf)+setHeaderBytes+len(record) > w.s.x.limit {
		w.close()
	}
	if len(w.buf) == 0 {
		w.buf, w.id = make([]byte, headerBytes, w.s.x.limit), 0
	}
	if w.id != id {
		w.set, w.id = len(w.buf), id
		w.buf = append(binary.BigEndian.AppendUint16(w.buf, id), 0, 0)
	}
	w.buf = append(w.buf, record...)
	binary.BigEndian.PutUint16(w.buf[w.set+2:], uint16(len(w.buf)-w.set))
	w.data += data
}

// close sends what is there.
func (w *setWriter) close() error {
	if w.err == nil && len(w.buf) > 0 {
		w.err = w.s.write(w.d, w.buf, w.data)
	}
	w.buf, w.data = w.buf[:0], 0
	return w.err
}

// write fills the header of a message and sends it. data is the number of its data records, those of options included, which the
// next message's sequence number counts (RFC 7011, section 3.1).
func (s *session) write(d *domain, b []byte, data uint32) error {
	now := time.Now()
	binary.BigEndian.PutUint16(b, ipfixVersion)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(now.Unix()))
	binary.BigEndian.PutUint32(b[8:], d.sequence)
	binary.BigEndian.PutUint32(b[12:], d.id)
	if err := s.conn.SetWriteDeadline(now.Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("send to ipfix collector %s: %w", s.x.cfg.Address, err)
	}
	d.sequence += data
	d.messages++
	d.octets += uint64(len(b))
	s.x.sent.messages.Add(1)
	s.x.sent.octets.Add(uint64(len(b)))
	return nil
}
