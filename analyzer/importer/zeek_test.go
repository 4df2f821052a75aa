package importer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// kept is a Sink that keeps copies.
type kept struct {
	records []*flow.Record
	lost    map[string]int
	streams []uint64
}

func (k *kept) Add(r *flow.Record) error {
	c := r.Clone()
	k.records = append(k.records, &c)
	return nil
}

func (k *kept) Lost(reason string, _ int64) {
	if k.lost == nil {
		k.lost = make(map[string]int)
	}
	k.lost[reason]++
}

func (k *kept) Stream(id uint64) error { k.streams = append(k.streams, id); return nil }

// captures is the directory of shared captures, beside the project.
func captures(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../shared/captures")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "captures.tsv")); err != nil {
		t.Skip("the shared captures are not beside the project (../shared/captures)")
	}
	return dir
}

func TestZeekFlowLogsOld(t *testing.T) {
	dir := captures(t)
	for _, d := range []string{"rita-server-day1", "rita-proxy_rolling", "slips/portscan-horizontal", "slips/test18-ctu-sme-11-win",
		"strato-002-zeek-scenario-port-scanning", "strato-006-zeek-scenario-ssh", "strato-008-zeek-mixed/data", "strato-010-zeek-mixed/data"} {
		files, _ := filepath.Glob(filepath.Join(dir, "flows", d, "*.log*"))
		var k kept
		tally, err := Zeek(context.Background(), files, &k)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(d, tally.String(), k.lost, len(k.streams))
	}
}
