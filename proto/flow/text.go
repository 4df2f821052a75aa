package flow

import "strings"

// ColumnNames are the fields of a record in order, as in flow.proto, the table
// `flows`, JSON and CSV.
func ColumnNames() []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return names
}

// ColumnType is the ClickHouse type of column i of ColumnNames.
func ColumnType(i int) string { return columns[i].sql }

// AppendJSON appends r as one JSON object without a newline. Every field is
// there; `community_id` stands for the stored community_hash.
func (r *Record) AppendJSON(dst []byte) []byte {
	for i, c := range columns {
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, textName(c)...)
		dst = append(dst, '"', ':')
		dst = c.json(dst, r)
	}
	return append(dst, '}')
}

func textName(c column) string {
	if c.name == "community_hash" {
		return "community_id"
	}
	return c.name
}

// CSVHeader is the first line of a CSV file of records, without a newline.
func CSVHeader() string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = textName(c)
	}
	return strings.Join(names, ",")
}

// AppendCSV appends r as one CSV line (RFC 4180) without a newline. Lists are
// joined by spaces. A cell that a spreadsheet would take for a formula gets an
// apostrophe before it.
func (r *Record) AppendCSV(dst []byte) []byte {
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch k := c.kind.(type) {
		case strKind:
			dst = appendCell(dst, *k.field(r))
		case listKind[string]:
			dst = appendCell(dst, strings.Join(*k.field(r), " "))
		case riskKind:
			dst = appendCell(dst, strings.Join(k.field(r).Names(), " "))
		case listKind[uint16], listKind[uint32], listKind[int32]:
			s := string(c.json(nil, r))
			dst = append(dst, strings.ReplaceAll(s[1:len(s)-1], ",", " ")...)
		default:
			s := string(c.json(nil, r))
			dst = append(dst, strings.Trim(s, `"`)...)
		}
	}
	return dst
}

// appendCell quotes where RFC 4180 asks for it and disarms formulas.
func appendCell(dst []byte, s string) []byte {
	if s == "" {
		return dst
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		s = "'" + s
	}
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}
