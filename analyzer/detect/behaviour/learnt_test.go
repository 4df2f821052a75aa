package behaviour_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/behaviour"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// TestLearning trains a forest on stored hours, keeps it as a file, and asks since
// when hosts are learnt.
func TestLearning(t *testing.T) {
	var table strings.Builder
	table.WriteString("start 2026-02-02T10:00:00Z\n")
	for host := range 40 {
		fmt.Fprintf(&table, "n=8 every=24h at=%dh src=10.0.0.%d dst=10.0.1.{i%%3+1} port=443 out=%d0000 outvar=40 in=50000\n", host%2, host+1, host%7+1)
	}
	start, rows, err := detecttest.ParseFlows(table.String())
	if err != nil {
		t.Fatal(err)
	}
	conn := localtest.Tables(t)
	detecttest.Load(t, conn, start, rows, 1)
	detecttest.Rollup(t, conn)

	ctx, own := context.Background(), detecttest.Own()
	span := detect.Window{Start: start.Truncate(24 * time.Hour), End: start.AddDate(0, 0, 8)}
	path := filepath.Join(t.TempDir(), "hours.json")
	var texts [2][]byte
	for i := range texts {
		m, err := behaviour.TrainForest(ctx, conn, own, span, 7)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
		texts[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("the same range and seed make another file")
	}
	m, err := behaviour.LoadForest(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, evaluation %v", m.Rows, m.Evaluation)
	if m.Rows < 200 || !m.From.Equal(span.Start) || m.Evaluation["false_share"] > 0.1 || m.Evaluation["recall_1000"] < 0.5 || m.Evaluation["recall_1000"] < m.Evaluation["recall_10"] {
		t.Errorf("%d rows since %v, evaluation %v", m.Rows, m.From, m.Evaluation)
	}
	c := behaviour.DefaultConfig()
	c.HostBehaviour.Model = path
	if err := c.Check(); err != nil {
		t.Error(err)
	}

	at := start.AddDate(0, 0, 8)
	list, err := behaviour.LearntAt(ctx, conn, own, c, at, "10.0.0.2", 10)
	if err != nil || len(list) != 1 || !list[0].Since.Equal(start.Add(time.Hour)) || list[0].Hours != 8 || !list[0].Learning(at) || list[0].Learning(start.AddDate(0, 0, 15)) {
		t.Errorf("%+v, %v", list, err)
	}
	c.LinkForecast.MinBytes = 1
	list, err = behaviour.LearntAt(ctx, conn, own, c, at, "", 1000)
	if err != nil || len(list) != 44 {
		t.Fatalf("%d, %v", len(list), err)
	}
	if link := list[43]; link.Kind != "link" || link.Name != "p1" || !link.Since.Equal(start) || link.Hours != 16 || !link.Learning(at) {
		t.Errorf("%+v", link)
	}
}
