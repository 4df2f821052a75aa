package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// The two probes of the kill test: one that makes flows up, so that all of them
// are known, on the spool, the encoder and the publisher of the real one; and
// the real one.
const (
	flowProbe = "generator"
	edgeProbe = "edge"
)

const (
	spoolBytes       = 256 << 20 // more than a run makes: nothing may be dropped
	generatorWorkers = 3
	generatorBatch   = 400 // flows in a batch, at most
)

// batchID is the identity of a batch.
type batchID struct {
	Probe  string
	Epoch  uint64
	Worker uint32
	Seq    uint64
}

// entry is a line of the generator's journal. One says that a batch is about to
// be handed to the spool; the next, that the spool has accepted it. A batch with
// the first alone may be there or not, but whole or not at all; its flows go out
// again in another.
type entry struct {
	Epoch    uint64 `json:"epoch"`
	Worker   uint32 `json:"worker"`
	Seq      uint64 `json:"seq"`
	First    int    `json:"first"` // number of its first flow
	Count    int    `json:"count"`
	Accepted bool   `json:"accepted,omitempty"`
}

func (e entry) id() batchID { return batchID{flowProbe, e.Epoch, e.Worker, e.Seq} }

// readJournal returns the batches in order, each as it was last said to be.
func readJournal(path string) ([]entry, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []entry
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			break // cut by a kill: never written
		}
		text = rest
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("journal %s: %w", path, err)
		}
		if n := len(all); e.Accepted {
			if n == 0 || all[n-1].id() != e.id() {
				return nil, fmt.Errorf("journal %s: %v was accepted before it was begun", path, e.id())
			}
			all[n-1] = e
			continue
		}
		all = append(all, e)
	}
	return all, nil
}

type generator struct {
	settings
	spool   *spool.Spool
	journal *os.File
	encoder *flow.Encoder
	random  *rand.Rand
	seq     [generatorWorkers]uint64
	skew    int64 // what its clock is ahead, in ns
}

// skewWord begins the line by which a generator's clock jumps; nanoseconds follow.
const skewWord = "skew "

// generate makes flows [what is journalled, s.Flows) and publishes them. It goes
// as far as the numbers tell that come line by line from its parent, and ends
// when all is acknowledged, or when its parent is gone.
func generate(s settings, allowed io.Reader) error {
	journalled, err := readJournal(s.Journal)
	if err != nil {
		return err
	}
	next := 0
	for _, e := range journalled {
		if e.Accepted {
			next = e.First + e.Count
		}
	}
	g := &generator{settings: s, encoder: flow.NewEncoder(), random: rand.New(rand.NewPCG(s.Seed, uint64(os.Getpid())))}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	queue := spool.DefaultConfig()
	queue.Dir, queue.MaxBytes, queue.SegmentBytes = s.Dir, spoolBytes, 1<<20
	if g.spool, err = spool.Open(queue, log, nil); err != nil {
		return err
	}
	defer g.spool.Close()
	if g.journal, err = os.OpenFile(s.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer g.journal.Close()

	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &kafka.Transport{ClientID: "generator", MetadataTTL: time.Second,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, s.KafkaProxy) // whatever address the broker gives itself
		}}
	defer transport.CloseIdleConnections()
	publishing, stop := context.WithCancel(context.Background())
	defer stop()
	published := make(chan error, 1)
	go func() {
		published <- spool.Publish(publishing, g.spool, spool.PublisherConfig{Brokers: []string{s.KafkaProxy}, Transport: transport,
			Topic: s.Topic, Timeout: s.RequestTimeout, DrainTimeout: 3 * time.Minute}, log, nil)
	}()
	for lines := bufio.NewScanner(allowed); next < s.Flows; {
		if !lines.Scan() {
			return nil // the parent is gone
		}
		if jump, ok := strings.CutPrefix(lines.Text(), skewWord); ok {
			if g.skew, err = strconv.ParseInt(jump, 10, 64); err != nil {
				return fmt.Errorf("read jump of the clock: %w", err)
			}
			continue
		}
		limit, err := strconv.Atoi(lines.Text())
		if err != nil {
			return fmt.Errorf("read limit: %w", err)
		}
		for next < min(limit, s.Flows) {
			n := min(1+g.random.IntN(generatorBatch), min(limit, s.Flows)-next)
			if err := g.batch(next, n); err != nil {
				return err
			}
			next += n
		}
	}
	stop() // what is left is sent now
	if err := <-published; err != nil {
		return err
	}
	if n := g.spool.Stats().Records; n > 0 {
		return fmt.Errorf("%d batches are not acknowledged", n)
	}
	return nil
}

// batch puts flows [first, first+n) into the spool.
func (g *generator) batch(first, n int) error {
	worker := uint32(g.random.IntN(generatorWorkers))
	var r flow.Record
	header := &flowpb.FlowBatch{Probe: flowProbe, Site: "site", Epoch: g.spool.Epoch(), Worker: worker, Seq: g.seq[worker] + 1, SealedNs: time.Now().UnixNano() + g.skew}
	second := &flowpb.LedgerSecond{Records: uint64(n)}
	for i := range n {
		makeFlow(g.Seed, first+i, &r)
		if !g.encoder.Fits(&r) {
			return fmt.Errorf("flow %d does not fit into a batch of %d", first+i, n)
		}
		g.encoder.Add(&r)
		second.Second = r.Start / int64(time.Second)
		second.SeenPackets += r.Packets()
		second.SeenFrameBytes += r.FrameBytes()
		header.ClockNs, header.WatermarkNs = r.End+g.skew, max(header.WatermarkNs, r.Start)
	}
	second.FlowPackets, second.FlowFrameBytes = second.SeenPackets, second.SeenFrameBytes
	header.Ledger = []*flowpb.LedgerSecond{second}
	header.EndOfStream = first+n == g.Flows
	message, err := g.encoder.Seal(header)
	if err != nil {
		return err
	}
	e := entry{Epoch: header.Epoch, Worker: worker, Seq: header.Seq, First: first, Count: n}
	if err := g.say(e); err != nil {
		return err
	}
	err = g.spool.Append(spool.Record{Partition: -1, Key: []byte(generatorKey + strconv.Itoa(int(worker))), Value: message,
		Meta: spool.Meta{Epoch: e.Epoch, Worker: worker, Seq: e.Seq, Rows: uint32(n), Packets: second.SeenPackets, FrameBytes: second.SeenFrameBytes}})
	if err != nil {
		return err
	}
	g.seq[worker] = e.Seq
	e.Accepted = true
	return g.say(e)
}

// generatorKey begins the key of the generator's messages, and stands in no
// other request to Kafka.
const generatorKey = flowProbe + "/worker-"

// say writes a line in one piece: a kill leaves all of it or nothing.
func (g *generator) say(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = g.journal.Write(append(line, '\n'))
	return err
}

// The traffic of the real probe: lanes of UDP conversations, six packets each.
const (
	edgeLanes = 40
	edgeStep  = 5 * time.Millisecond
	edgeIdle  = 2 * time.Second
)

// edgeHeader begins a capture: pcap of nanoseconds, Ethernet.
func edgeHeader() []byte {
	h := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	for _, v := range []uint32{0, 0, 65535, 1} {
		h = binary.LittleEndian.AppendUint32(h, v)
	}
	return h
}

// edgePacket is packet n of the traffic, as it stands in a capture.
func edgePacket(n int) []byte {
	lane, step := n%edgeLanes, n/edgeLanes
	conversation, phase := lane+edgeLanes*(step/6), step%6
	client, server := []byte{10, 9, byte(conversation >> 8), byte(conversation)}, []byte{192, 0, 2, byte(1 + conversation%50)}
	clientPort, serverPort := uint16(20000+conversation%40000), uint16(9999)
	if phase%2 == 1 {
		client, server, clientPort, serverPort = server, client, serverPort, clientPort
	}
	payload := bytes.Repeat([]byte{byte(conversation), byte(phase)}, 1+conversation%300)
	ip := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(28+len(payload)))
	ip = append(ip, 0, 0, 0x40, 0, 64, 17, 0, 0)
	ip = append(append(ip, client...), server...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	frame := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}
	frame = append(frame, ip...)
	for _, v := range []uint16{clientPort, serverPort, uint16(8 + len(payload)), 0} {
		frame = binary.BigEndian.AppendUint16(frame, v)
	}
	frame = append(frame, payload...)
	at := base + int64(n)*int64(edgeStep)
	var b []byte
	for _, v := range []uint32{uint32(at / 1e9), uint32(at % 1e9), uint32(len(frame)), uint32(len(frame))} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, frame...)
}
