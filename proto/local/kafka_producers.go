package local

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The broker writes what it knows about idempotent producers only when it is
// closed. After a kill it would start with what it knew at the last clean end
// and store a repeated batch twice, or refuse the next one for ever. So before
// a start we bring that file up to date from the log itself, as Kafka does.

// producersFile is that file, in the format of the pinned kfake (version 1).
const producersFile = "seq_windows.json"

// windowBatches is how many of a producer's last batches are remembered per
// partition, by the Kafka protocol.
const windowBatches = 5

type producerWindows struct {
	Version int              `json:"version"`
	Windows []producerWindow `json:"windows"`
}

type producerWindow struct {
	PID     int64                        `json:"pid"`
	Topic   string                       `json:"topic"`
	Part    int32                        `json:"partition"`
	Entries [windowBatches]producerBatch `json:"entries"`
	Count   uint8                        `json:"count"`
	At      uint8                        `json:"at"` // where the next entry goes
	Epoch   int16                        `json:"epoch"`
	Seen    bool                         `json:"seen"`
	NextSeq int32                        `json:"next_seq"`
}

type producerBatch struct {
	FirstSeq int32 `json:"first_seq"`
	NextSeq  int32 `json:"next_seq"`
	Offset   int64 `json:"offset"`
}

// batchHeaderBytes is the length of a record batch before its records, and
// batchChecked where its checksum begins to count (Kafka message format, magic 2).
const (
	batchHeaderBytes = 61
	batchChecked     = 21
)

// refreshProducers rewrites the producers' file of the broker in dir. Windows
// whose batches have left the log stay as they are.
func refreshProducers(dir string) error {
	name := filepath.Join(dir, producersFile)
	known := producerWindows{Version: 1}
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read kafka producers %s: %w", name, err)
	}
	if err == nil && json.Unmarshal(text, &known) != nil {
		known = producerWindows{Version: 1} // damaged: the log is the truth
	}
	parts, err := os.ReadDir(filepath.Join(dir, "partitions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new broker
	}
	if err != nil {
		return fmt.Errorf("read kafka log: %w", err)
	}
	for _, part := range parts {
		escaped, number, ok := cutLast(part.Name(), "-")
		topic, err := url.PathUnescape(escaped)
		n, numErr := strconv.ParseInt(number, 10, 32)
		if !ok || err != nil || numErr != nil {
			continue
		}
		fresh := map[int64]*producerWindow{}
		if err := scanPartition(filepath.Join(dir, "partitions", part.Name()), fresh); err != nil {
			return fmt.Errorf("read kafka log of %s/%d: %w", topic, n, err)
		}
		known.Windows = slices.DeleteFunc(known.Windows, func(w producerWindow) bool {
			return w.Topic == topic && w.Part == int32(n) && fresh[w.PID] != nil
		})
		for pid, w := range fresh {
			w.PID, w.Topic, w.Part = pid, topic, int32(n)
			known.Windows = append(known.Windows, *w)
		}
	}
	if text, err = json.Marshal(known); err == nil {
		err = replaceFile(name, text)
	}
	if err != nil {
		return fmt.Errorf("write kafka producers %s: %w", name, err)
	}
	return nil
}

// scanPartition adds what the segments of a partition say to windows, oldest
// segment first.
func scanPartition(dir string, windows map[int64]*producerWindow) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var bases []int64
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), ".dat")
		base, err := strconv.ParseInt(text, 10, 64)
		if ok && err == nil {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	for _, base := range bases {
		f, err := os.Open(filepath.Join(dir, strconv.FormatInt(base, 10)+".dat"))
		if err != nil {
			return err
		}
		err = scanSegment(bufio.NewReaderSize(f, 256<<10), windows)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// scanSegment reads record batches until the end or the first that is torn or
// damaged, which is where the broker, too, cuts the log.
func scanSegment(r io.Reader, windows map[int64]*producerWindow) error {
	table := crc32.MakeTable(crc32.Castagnoli)
	var head [batchHeaderBytes]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return torn(err)
		}
		rest := int64(binary.BigEndian.Uint32(head[8:])) - (batchHeaderBytes - 12)
		if rest < 0 || rest > requestMaxBytes {
			return nil
		}
		sum := crc32.New(table)
		sum.Write(head[batchChecked:])
		if _, err := io.CopyN(sum, r, rest); err != nil {
			return torn(err)
		}
		if sum.Sum32() != binary.BigEndian.Uint32(head[17:]) {
			return nil
		}
		pid := int64(binary.BigEndian.Uint64(head[43:]))
		control := binary.BigEndian.Uint16(head[21:])&0x20 != 0
		if pid < 0 || control {
			continue // no idempotent producer
		}
		w := windows[pid]
		if w == nil {
			w = &producerWindow{}
			windows[pid] = w
		}
		w.add(int64(binary.BigEndian.Uint64(head[0:])), int16(binary.BigEndian.Uint16(head[51:])),
			int32(binary.BigEndian.Uint32(head[53:])), int32(binary.BigEndian.Uint32(head[57:])))
	}
}

// torn takes the end of a file for what it is, an end.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// add remembers a batch at offset with records of sequence first and up. A new
// epoch begins a new window.
func (w *producerWindow) add(offset int64, epoch int16, first, records int32) {
	if w.Seen && w.Epoch != epoch {
		*w = producerWindow{}
	}
	next := int32((int64(first) + int64(records)) % math.MaxInt32)
	w.Epoch, w.Seen, w.NextSeq = epoch, true, next
	w.Entries[w.At] = producerBatch{first, next, offset}
	w.At = (w.At + 1) % windowBatches
	w.Count = min(w.Count+1, windowBatches)
}

// cutLast slices s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
