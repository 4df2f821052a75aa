package capture

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/net/bpf"
)

// FuzzFile reads bytes as a file, at once and streamed: both see the same, what
// is delivered was in the file, and every file ends.
func FuzzFile(f *testing.F) {
	f.Add(threePackets())
	f.Add(threeBlocks())
	f.Add(pcapFile{binary.BigEndian, magicModified, 1, []pcapRecord{{1, 2, 3, []byte("abc")}}}.bytes())
	g := new(ngFile)
	g.section(binary.BigEndian).face(1, 0, optionName, "a", optionTsResol, byte(0x85)).block(blockSimple, uint32(3), []byte("abc")).
		block(blockPacket, uint16(0), uint16(1), uint32(0), uint32(1), uint32(1), uint32(1), []byte("x")).
		block(blockStatistics, uint32(0), uint32(0), uint32(0), uint16(optionIfDrop), uint16(8), uint64(3)).
		section(binary.LittleEndian).face(113, 2).enhanced(0, 1, 5, []byte("hello"))
	f.Add(g.Bytes())
	for _, b := range bombs() {
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		var all [2][]got
		var ends [2]string
		for i, r := range []io.Reader{nil, bytes.NewReader(b)} {
			src, err := memorySource(b, r)
			if err != nil {
				ends[i] = err.Error()
				continue
			}
			var fr Frame
			total := 0
			for {
				if err := src.Next(&fr); err != nil {
					ends[i] = err.Error()
					break
				}
				total += len(fr.Data)
				all[i] = append(all[i], got{fr.Time, string(fr.Data), fr.Len, fr.LinkType, src.Interfaces()[fr.Interface]})
			}
			if total > len(b) {
				t.Fatalf("%d bytes out of %d", total, len(b))
			}
			if st := src.Stats(); st.Truncation != nil {
				ends[i] += st.Truncation.Error()
			}
		}
		if ends[0] != ends[1] || len(all[0]) != len(all[1]) {
			t.Fatalf("at once: %d, %q; streamed: %d, %q", len(all[0]), ends[0], len(all[1]), ends[1])
		}
		for i := range all[0] {
			if all[0][i] != all[1][i] {
				t.Fatalf("frame %d: at once %+v, streamed %+v", i, all[0][i], all[1][i])
			}
		}
	})
}

// FuzzFilter runs any program that prepare accepts, beside the virtual machine
// of x/net where that accepts it too, and beside its rewritten form.
func FuzzFilter(f *testing.F) {
	add := func(p []bpf.RawInstruction, data []byte) {
		var b bytes.Buffer
		for _, r := range p {
			binary.Write(&b, binary.LittleEndian, r)
		}
		f.Add(b.Bytes(), data)
	}
	add([]bpf.RawInstruction{{Op: opRet, K: 5}}, nil)
	for _, expr := range expressions() {
		if flt, err := CompileFilter(expr, LinkEthernet, 0); err == nil {
			add(flt.Raw(), tcpFrame())
		}
	}
	f.Fuzz(func(t *testing.T, program, data []byte) {
		raw := make([]bpf.RawInstruction, min(len(program)/8, 300))
		if err := binary.Read(bytes.NewReader(program), binary.LittleEndian, raw); err != nil {
			t.Fatal(err)
		}
		prog, err := prepare(raw)
		if err != nil {
			return
		}
		n := uint32(len(data))
		verdict := run(prog, data, n)
		if counted, ok := counting(raw); ok {
			p, err := prepare(counted)
			if err != nil {
				t.Fatalf("rewritten: %v", err)
			}
			if got := run(p, data, n); got != max(verdict, rejected) {
				t.Fatalf("rewritten: %d (want %d)", got, max(verdict, rejected))
			}
		}
		ins, ok := bpf.Disassemble(raw)
		if !ok {
			return
		}
		for _, i := range ins {
			switch i := i.(type) {
			case bpf.LoadExtension, bpf.ALUOpX: // an extension of Linux; a division by zero is an error there
				return
			case bpf.LoadAbsolute, bpf.LoadIndirect, bpf.LoadMemShift:
				// It adds offsets as int, we as uint32, like the kernel.
				if big(i) {
					return
				}
			}
		}
		vm, err := bpf.NewVM(ins)
		if err != nil {
			return
		}
		want, err := vm.Run(data)
		if err == nil && uint32(want) != verdict {
			t.Fatalf("%d (want %d): %v", verdict, want, ins)
		}
	})
}

func big(i bpf.Instruction) bool {
	switch i := i.(type) {
	case bpf.LoadAbsolute:
		return i.Off > 1<<20
	case bpf.LoadIndirect:
		return i.Off > 0 // X may be anything
	case bpf.LoadMemShift:
		return i.Off > 1<<20
	}
	return false
}
