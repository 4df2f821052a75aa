package collector_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// generator makes batches of flow records as an office network would: some
// servers, many clients, TLS, DNS, HTTP and unanswered connections.
type generator struct {
	rnd     *rand.Rand
	enc     *flow.Encoder
	probe   string
	epoch   uint64
	seq     uint64
	flowID  uint64
	records int
}

func newGenerator(seed uint64, probe string) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(seed, 1)), enc: flow.NewEncoder(), probe: probe, epoch: seed + 1}
}

func address(network, host uint32) (a flow.Addr) {
	a[10], a[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(a[12:], network|host)
	return a
}

func (g *generator) record(start time.Time) *flow.Record {
	g.flowID++
	r := &flow.Record{
		Interface: "eth0", SrcIP: address(10<<24, g.rnd.Uint32N(2000)), DstIP: address(203<<24|113<<8, g.rnd.Uint32N(250)),
		SrcPort: uint16(32768 + g.rnd.Uint32N(28000)), Start: start.UnixNano(), FlowID: g.flowID, SrcMAC: flow.MAC(g.rnd.Uint32N(2000) + 1),
		EndReason: flow.EndReason(1), SrcTTL: 64, DstTTL: 57, Protocol: 6,
	}
	r.End = r.Start + int64(g.rnd.ExpFloat64()*2e9)
	r.SrcPackets, r.DstPackets = 3+uint64(g.rnd.ExpFloat64()*10), 2+uint64(g.rnd.ExpFloat64()*20)
	r.SrcPayloadBytes, r.DstPayloadBytes = r.SrcPackets*90, r.DstPackets*700
	r.SrcBytes, r.DstBytes = r.SrcPayloadBytes+40*r.SrcPackets, r.DstPayloadBytes+40*r.DstPackets
	r.SrcFrameBytes, r.DstFrameBytes = r.SrcBytes+14*r.SrcPackets, r.DstBytes+14*r.DstPackets
	switch g.rnd.IntN(10) {
	case 0, 1, 2:
		name := fmt.Sprintf("host%d.example.net", g.rnd.IntN(5000))
		r.Protocol, r.DstPort, r.App = 17, 53, "dns"
		r.DNSNames, r.DNSQTypes, r.DNSRcodes = []string{name}, []uint16{1}, []uint16{0}
		r.DNSAnswers, r.DNSLatency = []string{"198.51.100.7"}, g.rnd.Uint32N(50000)
	case 3:
		r.DstPort, r.App, r.History = 80, "http", "ShADadFf"
		r.HTTPMethod, r.HTTPHost, r.HTTPURI = "GET", "www.example.net", fmt.Sprintf("/page/%d", g.rnd.IntN(10000))
		r.HTTPStatus, r.HTTPUserAgent = 200, "Mozilla/5.0"
		r.HTTPRequests, r.HTTPStatuses = []string{"GET www.example.net" + r.HTTPURI}, []uint16{200}
	case 4:
		r.DstPort, r.History, r.DstPackets, r.DstBytes, r.DstFrameBytes, r.DstPayloadBytes = uint16(g.rnd.Uint32N(65535)), "S", 0, 0, 0, 0
	default:
		r.DstPort, r.App, r.History, r.TLSVersion, r.TLSCipher = 443, "tls", "ShADadFf", 0x0304, 0x1301
		r.TLSSNI, r.TLSALPN = fmt.Sprintf("s%d.cloud.example", g.rnd.IntN(3000)), "h2,http/1.1"
		r.JA4, r.JA3 = "t13d1516h2_8daaf6152771_e5627efa2ab1", "cd08e31494f9531f560d64c695473da9"
		r.SrcRTT, r.DstRTT = g.rnd.Uint32N(20000), g.rnd.Uint32N(90000)
	}
	return r
}

// batch makes the next batch of n records that start within span from start.
func (g *generator) batch(t testing.TB, n int, start time.Time, span time.Duration) []byte {
	t.Helper()
	g.seq++
	for i := range n {
		g.enc.Add(g.record(start.Add(time.Duration(int64(span) / int64(n) * int64(i)))))
	}
	g.records += n
	end := start.Add(span).UnixNano()
	msg, err := g.enc.Seal(&flowpb.FlowBatch{
		Probe: g.probe, Site: "lab", Epoch: g.epoch, Seq: g.seq, ClockNs: end, WatermarkNs: start.UnixNano(), SealedNs: time.Now().UnixNano(),
		Ledger: []*flowpb.LedgerSecond{{Second: start.Unix(), SeenPackets: uint64(n) * 11, SeenFrameBytes: uint64(n) * 1000, FlowPackets: uint64(n) * 10,
			FlowFrameBytes: uint64(n) * 900, Records: uint64(n), Losses: []*flowpb.Loss{{Reason: "non_ip", Packets: uint64(n), FrameBytes: uint64(n) * 100}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// produce appends values to a partition, in one request each.
func produce(t testing.TB, client *kafkago.Client, topic string, partition int, values ...[]byte) {
	t.Helper()
	for _, v := range values {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		answer, err := client.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: partition, RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(v), Time: time.Now()})})
		cancel()
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			t.Fatalf("produce: %v", err)
		}
	}
}
