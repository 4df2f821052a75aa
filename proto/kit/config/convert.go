package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// convertible says whether convert can produce a t.
func convertible(t reflect.Type) error {
	if isText(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Slice:
		return convertible(t.Elem())
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return convertible(t.Elem())
		}
	}
	return fmt.Errorf("type %s cannot be configured", t)
}

// convert makes a t of raw: text (from the environment, a flag or YAML) or what YAML has made of a scalar, list or map.
// Errors hold the value, unless t is secret.
func convert(raw any, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	text, isString := raw.(string)
	switch {
	case t == secretType:
		if !isString {
			return v, errors.New("a secret must be text: put it into quotes")
		}
		v.SetString(text)
		return v, nil
	case t == durationType:
		if i, ok := raw.(int); ok && i == 0 {
			text, isString = "0", true
		}
		if !isString {
			return v, fmt.Errorf("%v is not a duration: it needs a unit, such as 30s", raw)
		}
		d, err := kit.ParseDuration(text)
		v.SetInt(int64(d))
		return v, err
	case isText(t):
		if !isString {
			switch raw.(type) {
			case int, int64, uint64, float64, bool:
				text = fmt.Sprint(raw)
			default:
				return v, fmt.Errorf("%s where one value belongs", shape(raw))
			}
		}
		return v, v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch t.Kind() {
	case reflect.String:
		if !isString {
			return v, fmt.Errorf("%s where text belongs: put it into quotes", shape(raw))
		}
		v.SetString(text)
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return v, nil
		}
		if text != "true" && text != "false" {
			return v, fmt.Errorf("%s is neither true nor false", shape(raw))
		}
		v.SetBool(text == "true")
	case reflect.Slice:
		return convertList(raw, t)
	case reflect.Map:
		return convertMap(raw, t)
	default:
		return convertNumber(raw, t)
	}
	return v, nil
}

// convertNumber is convert for integers and floats.
func convertNumber(raw any, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	var text string
	switch r := raw.(type) {
	case string:
		text = strings.TrimSpace(r)
	case int, int64, uint64, float64:
		text = fmt.Sprint(r)
	default:
		return v, fmt.Errorf("%s is not a number", shape(raw))
	}
	var err error
	what := "whole number"
	switch {
	case v.CanInt():
		var i int64
		i, err = strconv.ParseInt(text, 10, t.Bits())
		v.SetInt(i)
	case v.CanUint():
		var u uint64
		what = "whole number of 0 or more"
		u, err = strconv.ParseUint(text, 10, t.Bits())
		v.SetUint(u)
	default:
		var f float64
		what = "number"
		f, err = strconv.ParseFloat(text, t.Bits())
		if err == nil && (f != f || f-f != 0) {
			err = strconv.ErrRange
		}
		v.SetFloat(f)
	}
	if errors.Is(err, strconv.ErrRange) {
		return v, fmt.Errorf("%q is out of range", text)
	}
	if err != nil {
		return v, fmt.Errorf("%q is not a %s", text, what)
	}
	return v, nil
}

// convertList is convert for slices: a YAML list, or text with commas between the elements. Empty text is no element.
func convertList(raw any, t reflect.Type) (reflect.Value, error) {
	var items []any
	switch r := raw.(type) {
	case []any:
		items = r
	case string:
		for part := range strings.SplitSeq(r, ",") {
			if part = strings.TrimSpace(part); part != "" {
				items = append(items, part)
			}
		}
	default:
		return reflect.Zero(t), fmt.Errorf("%s where a list belongs", shape(raw))
	}
	v := reflect.MakeSlice(t, 0, len(items))
	for i, item := range items {
		e, err := convert(item, t.Elem())
		if err != nil {
			return v, fmt.Errorf("element %d: %w", i, err)
		}
		v = reflect.Append(v, e)
	}
	return v, nil
}

// convertMap is convert for maps: a YAML map, or text such as "a=1,b=2".
func convertMap(raw any, t reflect.Type) (reflect.Value, error) {
	v := reflect.MakeMap(t)
	items := map[string]any{}
	switch r := raw.(type) {
	case map[string]any:
		items = r
	case wholeMap:
		items = r.Map
	case string:
		for part := range strings.SplitSeq(r, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			name, value, ok := strings.Cut(part, "=")
			if !ok && hasSecret(t.Elem()) {
				return v, errors.New("an element is not of the form name=value")
			}
			if !ok {
				return v, fmt.Errorf("%q is not of the form name=value", part)
			}
			items[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	default:
		return v, fmt.Errorf("%s where a map belongs", shape(raw))
	}
	for name, item := range items {
		e, err := convert(item, t.Elem())
		if err != nil {
			return v, fmt.Errorf("element %q: %w", name, err)
		}
		v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), e)
	}
	return v, nil
}

// shape describes a raw value for an error message.
func shape(raw any) string {
	switch r := raw.(type) {
	case nil:
		return "nothing"
	case string:
		return strconv.Quote(r)
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprint(raw)
}
