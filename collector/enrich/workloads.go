package enrich

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// maxWorkloads bounds the entries of one feed.
const maxWorkloads = 1_000_000

// workload is an address that a pod, container or virtual machine has, or had.
type workload struct {
	ip                          netip.Addr
	name, kind, namespace, node string
	from, to                    time.Time // zero: the feed does not say
}

// feedRow is an entry of a JSON feed.
type feedRow struct {
	IP        string   `json:"ip"`
	IPs       []string `json:"ips"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Node      string   `json:"node"`
	From      string   `json:"from"`
	To        string   `json:"to"`
}

// parseWorkloads reads CSV with a line of column names, or JSON: a list of
// objects with the same names, or an object with such a list under `workloads`.
func parseWorkloads(data []byte) (list []workload, refused int, err error) {
	add := func(r feedRow) error {
		for _, text := range append(r.IPs, r.IP) {
			if text == "" && len(r.IPs) > 0 {
				continue
			}
			w, ok := r.workload(text)
			if !ok {
				refused++
				continue
			}
			if list = append(list, w); len(list) > maxWorkloads {
				return fmt.Errorf("%w: more than %d workloads", errTooLarge, maxWorkloads)
			}
		}
		return nil
	}
	data = trimBOM(data)
	if len(data) > 0 && (data[0] == '{' || data[0] == '[') {
		dec := json.NewDecoder(bytes.NewReader(data))
		found := data[0] == '['
		err := eachInArray(dec, "workloads", func() error {
			found = true
			var r feedRow
			if err := dec.Decode(&r); err != nil {
				return err
			}
			return add(r)
		})
		if err == nil && !found {
			// An empty list is the end of all workloads; something else must not be.
			err = empty(data, "workloads")
		}
		return list, refused, err
	}
	t, err := readTable(data, map[string][]string{"ip": {"ip", "address", "pod_ip"}, "name": {"name", "pod", "vm", "container"}, "kind": {"kind", "type"},
		"namespace": {"namespace", "project", "cluster"}, "node": {"node", "host"}, "from": {"from", "start", "created"}, "to": {"to", "end", "deleted"}}, "ip")
	if err != nil {
		return nil, 0, err
	}
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return list, refused, nil
		}
		if err != nil {
			return nil, refused, err
		}
		if err := add(feedRow{IP: row("ip"), Name: row("name"), Kind: row("kind"), Namespace: row("namespace"), Node: row("node"), From: row("from"), To: row("to")}); err != nil {
			return nil, refused, err
		}
	}
}

// empty is nil when data is an object with an empty list under key.
func empty(data []byte, key string) error {
	var o map[string][]json.RawMessage
	if json.Unmarshal(data, &o) == nil {
		if _, ok := o[key]; ok {
			return nil
		}
	}
	return fmt.Errorf("no list %q in it", key)
}

func (r feedRow) workload(ip string) (w workload, ok bool) {
	a, err := netip.ParseAddr(strings.TrimSpace(ip))
	name := strings.TrimSpace(r.Name)
	if err != nil || name == "" || len(name) > 512 {
		return w, false
	}
	from, okFrom := moment(r.From)
	to, okTo := moment(r.To)
	if !okFrom || !okTo || !to.IsZero() && to.Before(from) {
		return w, false
	}
	return workload{a.Unmap().WithZone(""), strings.Clone(name), strings.Clone(r.Kind), strings.Clone(r.Namespace), strings.Clone(r.Node), from, to}, true
}

// moment reads a time of a feed; the empty text is no time.
func moment(s string) (time.Time, bool) {
	if s = strings.TrimSpace(s); s == "" {
		return time.Time{}, true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), t.Year() >= 1970 && t.Year() < 2200
		}
	}
	return time.Time{}, false
}
