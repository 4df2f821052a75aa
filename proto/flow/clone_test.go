package flow

import (
	"reflect"
	"testing"
)

// TestClone: no list of a copy is that of its original.
func TestClone(t *testing.T) {
	var r Record
	v := reflect.ValueOf(&r).Elem()
	lists := 0
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.Set(reflect.MakeSlice(f.Type(), 2, 2))
			lists++
		}
	}
	c := r.Clone()
	if !reflect.DeepEqual(c, r) {
		t.Errorf("(-got +want)\n-%+v\n+%+v", c, r)
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Pointer() == reflect.ValueOf(c).Field(i).Pointer() {
			t.Errorf("%s is shared", v.Type().Field(i).Name)
		}
	}
	if lists == 0 {
		t.Error("a record has no list")
	}
}
