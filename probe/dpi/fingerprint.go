package dpi

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
)

// ja3 is the MD5 of "version,ciphers,extensions,groups,formats", numbers in
// decimal joined by '-', without GREASE (salesforce/ja3).
func (in *Inspector) ja3(h *hello) string {
	b := strconv.AppendUint(in.scratch[:0], uint64(h.version), 10)
	b = appendDecimals(append(b, ','), h.ciphers)
	b = in.appendTypes(append(b, ','), h)
	b = appendDecimals(append(b, ','), h.groups)
	b = append(b, ',')
	for i, f := range h.formats {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(f), 10)
	}
	return in.md5(b)
}

// ja3s is the same for a server: "version,cipher,extensions".
func (in *Inspector) ja3s(h *hello) string {
	b := strconv.AppendUint(in.scratch[:0], uint64(h.version), 10)
	b = strconv.AppendUint(append(b, ','), uint64(binary.BigEndian.Uint16(h.ciphers)), 10)
	b = in.appendTypes(append(b, ','), h)
	return in.md5(b)
}

// appendDecimals appends big endian 16-bit numbers, GREASE left out.
func appendDecimals(dst, list []byte) []byte {
	first := true
	for ; len(list) >= 2; list = list[2:] {
		v := binary.BigEndian.Uint16(list)
		if grease(v) {
			continue
		}
		if !first {
			dst = append(dst, '-')
		}
		dst, first = strconv.AppendUint(dst, uint64(v), 10), false
	}
	return dst
}

func (in *Inspector) appendTypes(dst []byte, h *hello) []byte {
	in.codes = h.extensionTypes(in.codes[:0])
	for i, t := range in.codes {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = strconv.AppendUint(dst, uint64(t), 10)
	}
	return dst
}

// md5 returns the hex digest of b, which is in.scratch.
func (in *Inspector) md5(b []byte) string {
	in.scratch = b
	sum := md5.Sum(b)
	in.text = hex.AppendEncode(in.text[:0], sum[:])
	return in.strings.get(in.text)
}

// ja4 is FoxIO's JA4 (technical_details/JA4.md, BSD licence): transport,
// version, whether a name is asked for, the numbers of ciphers and extensions
// and the ends of the first ALPN; then two truncated SHA-256.
func (in *Inspector) ja4(h *hello, transport byte) string {
	in.codes = in.codes[:0]
	for c := h.ciphers; len(c) >= 2; c = c[2:] {
		if v := binary.BigEndian.Uint16(c); !grease(v) {
			in.codes = append(in.codes, v)
		}
	}
	ciphers := len(in.codes)
	in.codes = h.extensionTypes(in.codes)
	extensions := len(in.codes) - ciphers

	out := append(in.text[:0], transport)
	out = append(out, versionJA4(h.greatestVersion())...)
	if h.hasSNI {
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	out = appendTwoDigits(out, ciphers)
	out = appendTwoDigits(out, extensions)
	out = appendALPNEnds(out, h.alpn)

	slices.Sort(in.codes[:ciphers])
	b := appendHexList(in.scratch[:0], in.codes[:ciphers])
	out = appendTruncated(append(out, '_'), b)

	types := slices.DeleteFunc(in.codes[ciphers:], func(t uint16) bool { return t == extServerName || t == extALPN })
	slices.Sort(types)
	b = appendHexList(b[:0], types)
	if len(h.signatures) > 0 {
		b = append(b, '_')
		in.codes = in.codes[:0]
		for s := h.signatures; len(s) >= 2; s = s[2:] {
			if v := binary.BigEndian.Uint16(s); !grease(v) {
				in.codes = append(in.codes, v)
			}
		}
		b = appendHexList(b, in.codes)
	}
	if extensions == 0 {
		b = b[:0]
	}
	out = appendTruncated(append(out, '_'), b)
	in.scratch, in.text = b, out
	return in.strings.get(out)
}

func versionJA4(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case 0xfeff:
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

func appendTwoDigits(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendALPNEnds appends the first and the last character of the first
// protocol, of its hex form where one of them is not a letter or digit.
func appendALPNEnds(dst, alpn []byte) []byte {
	r := reader{b: alpn}
	name := r.take(r.u8())
	if len(name) == 0 {
		return append(dst, "00"...)
	}
	a, z := name[0], name[len(name)-1]
	if !alnum(a) || !alnum(z) {
		a, z = hexDigits[a>>4], hexDigits[z&15]
	}
	return append(dst, a, z)
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

func appendHexList(dst []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, hexDigits[v>>12], hexDigits[v>>8&15], hexDigits[v>>4&15], hexDigits[v&15])
	}
	return dst
}

// appendTruncated appends 12 hex digits of the SHA-256 of b; of nothing, zeros.
func appendTruncated(dst, b []byte) []byte {
	if len(b) == 0 {
		return append(dst, "000000000000"...)
	}
	sum := sha256.Sum256(b)
	return hex.AppendEncode(dst, sum[:6])
}
