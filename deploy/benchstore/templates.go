package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// sources are the captures whose flows are the templates: ordinary traffic and
// many protocols, without the attacks that are nothing but themselves.
var sources = []string{"bench/mix.pcap", "dns-tunnel/normal_00000.pcap", "ndpi", "zeek", "ja4", "mercury", "suricata-verify", "slips", "ipfixprobe", "joy", "wireshark", "arkime"}

// findCaptures returns those of sources that are below dir, or the captures of
// the demo where there are none.
func findCaptures(dir string) (files []string, told string, err error) {
	for _, s := range sources {
		if path := filepath.Join(dir, s); exists(path) {
			files = append(files, path)
		}
	}
	if len(files) > 0 {
		return files, fmt.Sprintf("%d captures and folders of them below %s", len(files), dir), nil
	}
	files, err = filepath.Glob("demo/captures/*.pcap.gz")
	if err == nil && len(files) == 0 {
		err = errors.New("no captures in demo/captures: run it in deploy")
	}
	return files, "demo/captures", err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// loadTemplates meters captures with the probe and fills the table `templates`
// with every record, all columns, as a collector would store it.
func loadTemplates(ctx context.Context, db driver.Conn, probe, dir string, files []string) (records int, err error) {
	to := filepath.Join(dir, "batches")
	args := []string{"flows", "--quiet", "-o", to, "--format", "batch"}
	for _, f := range files {
		args = append(args, "-r", f)
	}
	// Damaged captures are among them: what the probe could read counts.
	if text, err := exec.CommandContext(ctx, probe, args...).CombinedOutput(); err != nil && !exists(to) {
		return 0, fmt.Errorf("run %s: %w: %s", probe, err, text)
	}
	defer os.Remove(to)
	f, err := os.Open(to)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block, reader, in := flow.NewBlock(), flow.NewReader(), bufio.NewReader(f)
	for {
		message, err := readMessage(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read batches of the probe: %w", err)
		}
		b, err := reader.Read(message)
		if err != nil {
			return 0, fmt.Errorf("read batches of the probe: %w", err)
		}
		rows := make([]int, b.Len())
		for i := range rows {
			rows[i] = i
		}
		block.Add(b, rows)
	}
	names := flow.ColumnNames()
	batch, err := db.PrepareBatch(ctx, "INSERT INTO raw ("+strings.Join(names, ", ")+")")
	if err != nil {
		return 0, fmt.Errorf("insert templates: %w", err)
	}
	for i := range names {
		if err := batch.Column(i).Append(plain(block.Values(i), flow.ColumnType(i))); err != nil {
			return 0, errors.Join(fmt.Errorf("insert templates: column %s: %w", names[i], err), batch.Abort())
		}
	}
	if err := batch.Send(); err != nil {
		return 0, fmt.Errorf("insert templates: %w", err)
	}
	return block.Rows(), nil
}

// readMessage reads one message after its length.
func readMessage(in io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 2*flow.MaxMessageBytes {
		return nil, fmt.Errorf("a message of %d octets", n)
	}
	message := make([]byte, n)
	_, err := io.ReadFull(in, message)
	return message, err
}

// plain turns the values of a column into what clickhouse-go takes for its type.
func plain(values any, sql string) any {
	ns, ok := values.([]int64)
	if !ok || !strings.HasPrefix(sql, "DateTime64") {
		return values
	}
	list := make([]time.Time, len(ns))
	for i, t := range ns {
		list[i] = time.Unix(0, t)
	}
	return list
}
