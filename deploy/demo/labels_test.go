package demo

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLabelsRoundTrip(t *testing.T) {
	want := []Label{
		{"2-attacks.pcap.gz", "scan", "T1046", netip.MustParseAddr("10.20.1.16"), "10.20.0.80", 0, time.Unix(10, 0).UTC(), time.Unix(20, 0).UTC(), "a note"},
		{"2-attacks.pcap.gz", "flood", "T1498.001", netip.Addr{}, "10.20.0.81", 8443, time.Unix(30, 0).UTC(), time.Unix(40, 0).UTC(), ""},
	}
	var buf bytes.Buffer
	if err := WriteLabels(&buf, want); err != nil {
		t.Fatal(err)
	}
	got, err := ParseLabels(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLabelsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"columns": "a\tb\n",
		"cells":   labelColumns + "\nonly\tthree\tcells\n",
		"actor":   labelColumns + "\nf\ts\tT\tnobody\tv\t1\t1\t2\tn\n",
		"port":    labelColumns + "\nf\ts\tT\t-\tv\t70000\t1\t2\tn\n",
		"time":    labelColumns + "\nf\ts\tT\t-\tv\t1\tnoon\t2\tn\n",
	} {
		t.Run(name, func(t *testing.T) {
			if labels, err := ParseLabels(strings.NewReader(text)); err == nil {
				t.Errorf("accepted as %+v", labels)
			} else if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("error %q does not name the line", err)
			}
		})
	}
}

func FuzzParseLabels(f *testing.F) {
	f.Add(labelColumns + "\nf\ts\tT\t10.0.0.1\tv\t80\t1\t2\tn\n")
	f.Add(labelColumns + "\nf\ts\tT\t-\tv\t80\t-9223372036854775808\t2\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := ParseLabels(strings.NewReader(text))
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := WriteLabels(&buf, labels); err != nil {
			t.Fatal(err)
		}
		if again, err := ParseLabels(&buf); err != nil || len(again) != len(labels) {
			t.Fatalf("written labels read as %d of %d: %v", len(again), len(labels), err)
		}
	})
}
