package collector_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/sign"
)

func newSigner(t testing.TB, dir, name string, seed byte) *sign.Signer {
	t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = seed + byte(i*i*11+3*i)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sign.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestForgeries: two probes with a key each. What each signs is stored; what
// somebody else makes in their names goes to the dead-letter topic, and is
// counted; what is played again is a duplicate.
func TestForgeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	cfg := r.cfg
	dir := t.TempDir()
	a, b := newSigner(t, dir, "a", 1), newSigner(t, dir, "b", 100)
	cfg.Probes.Keys, cfg.Probes.Required = filepath.Join(dir, "probes"), true
	if err := os.WriteFile(cfg.Probes.Keys, []byte("a "+a.Public()+"\nb "+b.Public()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	metric := r.serveMetrics(&cfg)
	r.start(cfg)

	begin := time.Date(2026, 3, 2, 22, 0, 0, 0, time.UTC)
	ofA, ofB, stranger := newGenerator(1, "a"), newGenerator(2, "b"), newGenerator(3, "c")
	next := func(g *generator) []byte { return g.batch(t, 50, begin, time.Minute) }
	first := a.Sign(next(ofA))
	produce(t, r.client, cfg.Topic, 0, first)
	second := b.Sign(next(ofB))
	produce(t, r.client, cfg.Topic, 1, second)
	r.until("SELECT count() FROM batches FINAL WHERE status = 'stored'", 2, 20*time.Second)

	altered := a.Sign(next(ofA))
	altered[len(altered)/3] ^= 1 // within the compressed batch: its checksum or the signature tells
	body := next(ofA)
	moved := append(bytes.Clone(body), first[len(first)-sign.Bytes:]...)
	for i, forged := range [][]byte{
		next(ofA),                 // not signed
		b.Sign(next(ofA)),         // by the other probe
		a.Sign(next(ofB)),         // the other way round
		moved,                     // with the signature of another batch
		b.Sign(next(stranger)),    // a probe that nobody knows
		append(altered, first...), // two messages in one
	} {
		produce(t, r.client, cfg.Topic, i%2, forged)
	}
	produce(t, r.client, cfg.Topic, 0, first) // played again
	r.until("SELECT count() FROM batches FINAL WHERE status != 'stored'", 7, 20*time.Second)
	r.exactly(first, second)
	var refused, repeated uint64
	r.query("SELECT countIf(status = 'quarantined'), countIf(status = 'duplicate') FROM batches FINAL", &refused, &repeated)
	if n := metric(`tapwatch_collector_consume_quarantined_messages_total{reason="signature"}`); refused != 6 || repeated != 1 || n < 5 {
		t.Errorf("%d refused, %v of them for the signature, %d duplicates; want 6, 5 or 6, and 1", refused, n, repeated)
	}
}
