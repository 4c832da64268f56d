package atmost

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
)

// keepables holds what keepable found of each type, an error or nil. It belongs to no engine, as what it says of a type never
// changes, and a generic function has no place of its own to keep that.
var keepables sync.Map // of reflect.Type to *Error

// keepable refuses a type whose values JSON has no form for, or cannot be decoded again.
func keepable(t reflect.Type) error {
	known, ok := keepables.Load(t)
	if !ok {
		var refusal *Error
		if bad := unkeepable(t, map[reflect.Type]bool{}); bad != nil {
			refusal = &Error{Code: CodeInvalidRequest, Message: "results of type " + t.String() + " cannot be kept: JSON cannot express, and read again, a " + bad.String()}
		}
		known, _ = keepables.LoadOrStore(t, refusal)
	}
	if refusal := known.(*Error); refusal != nil {
		return refusal
	}
	return nil
}

// unkeepable returns the type within t because of which it cannot be kept, nil if it can.
func unkeepable(t reflect.Type, seen map[reflect.Type]bool) reflect.Type {
	if seen[t] || converts(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return t
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return t // nothing says what to decode into
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return unkeepable(t.Elem(), seen)
	case reflect.Map:
		if k := t.Key(); !keyable(k) {
			return k
		}
		return unkeepable(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			if bad := unkeepable(f.Type, seen); bad != nil {
				return bad
			}
		}
	}
	return nil
}

// converts reports whether t has methods of its own for both directions, or its pointer has.
func converts(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) && p.Implements(reflect.TypeFor[json.Unmarshaler]()) || textual(p)
}

func textual(p reflect.Type) bool {
	return p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) && p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func keyable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return textual(reflect.PointerTo(t))
}
