using System;
using System.Collections.Generic;
using System.Collections.Immutable;
using System.IO;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Hull.Tests.Layers;

/// <summary>One mention: a member of a type names another type.</summary>
internal readonly record struct Mention(string FromNamespace, string FromType, string ToNamespace, string ToType);

/// <summary>
/// Reads which types each type of an assembly mentions: bases, signatures, attributes, and the instructions of method
/// bodies (ECMA-335, partitions II and III). Nested types count as their outermost type.
/// </summary>
internal sealed class AssemblyReferences : IDisposable
{
    private static readonly OperandType?[] OneByte = LoadOperandTypes(oneByte: true);
    private static readonly OperandType?[] TwoByte = LoadOperandTypes(oneByte: false);

    private readonly PEReader _file;
    private readonly MetadataReader _reader;
    private readonly TypeCollector _collector;

    internal AssemblyReferences(string path)
    {
        _file = new PEReader(File.OpenRead(path));
        _reader = _file.GetMetadataReader();
        _collector = new TypeCollector(_reader);
    }

    /// <summary>Every mention of a type, without those of the type itself.</summary>
    internal HashSet<Mention> ReadMentions()
    {
        HashSet<Mention> mentions = [];
        foreach (TypeDefinitionHandle handle in _reader.TypeDefinitions)
        {
            (string ns, string name) = _collector.NameOf(handle);
            if (ns.Length == 0)
            {
                continue;
            }

            _collector.Found.Clear();
            CollectType(_reader.GetTypeDefinition(handle));
            foreach ((string toNamespace, string toName) in _collector.Found)
            {
                if ((toNamespace, toName) != (ns, name))
                {
                    mentions.Add(new Mention(ns, name, toNamespace, toName));
                }
            }
        }

        return mentions;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void CollectType(TypeDefinition type)
    {
        _collector.Add(type.BaseType);
        foreach (InterfaceImplementationHandle handle in type.GetInterfaceImplementations())
        {
            _collector.Add(_reader.GetInterfaceImplementation(handle).Interface);
        }

        foreach (FieldDefinitionHandle handle in type.GetFields())
        {
            _reader.GetFieldDefinition(handle).DecodeSignature(_collector, null);
        }

        foreach (CustomAttributeHandle handle in type.GetCustomAttributes())
        {
            CollectMember(_reader.GetCustomAttribute(handle).Constructor);
        }

        foreach (MethodDefinitionHandle handle in type.GetMethods())
        {
            CollectMethod(_reader.GetMethodDefinition(handle));
        }
    }

    private void CollectMethod(MethodDefinition method)
    {
        method.DecodeSignature(_collector, null);
        foreach (GenericParameterHandle handle in method.GetGenericParameters())
        {
            foreach (GenericParameterConstraintHandle constraint in _reader.GetGenericParameter(handle).GetConstraints())
            {
                _collector.Add(_reader.GetGenericParameterConstraint(constraint).Type);
            }
        }

        if (method.RelativeVirtualAddress == 0)
        {
            return;
        }

        MethodBodyBlock body = _file.GetMethodBody(method.RelativeVirtualAddress);
        if (!body.LocalSignature.IsNil)
        {
            _reader.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(_collector, null);
        }

        foreach (ExceptionRegion region in body.ExceptionRegions)
        {
            _collector.Add(region.CatchType);
        }

        CollectInstructions(body.GetILReader());
    }

    private void CollectInstructions(BlobReader code)
    {
        while (code.RemainingBytes > 0)
        {
            byte first = code.ReadByte();
            OperandType? operand = first == 0xFE ? TwoByte[code.ReadByte()] : OneByte[first];
            switch (operand)
            {
                case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType:
                    CollectMember(MetadataTokens.EntityHandle(code.ReadInt32()));
                    break;
                case OperandType.InlineSwitch:
                    int targets = code.ReadInt32();
                    code.Offset += targets * 4;
                    break;
                case OperandType.InlineI8 or OperandType.InlineR:
                    code.Offset += 8;
                    break;
                case OperandType.InlineVar:
                    code.Offset += 2;
                    break;
                case OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar:
                    code.Offset += 1;
                    break;
                case OperandType.InlineNone:
                    break;
                default:
                    code.Offset += 4;
                    break;
            }
        }
    }

    private void CollectMember(EntityHandle member)
    {
        switch (member.Kind)
        {
            case HandleKind.MethodDefinition:
                _collector.Add(_reader.GetMethodDefinition((MethodDefinitionHandle)member).GetDeclaringType());
                break;
            case HandleKind.FieldDefinition:
                _collector.Add(_reader.GetFieldDefinition((FieldDefinitionHandle)member).GetDeclaringType());
                break;
            case HandleKind.MethodSpecification:
                MethodSpecification specification = _reader.GetMethodSpecification((MethodSpecificationHandle)member);
                specification.DecodeSignature(_collector, null);
                CollectMember(specification.Method);
                break;
            case HandleKind.MemberReference:
                CollectReference(_reader.GetMemberReference((MemberReferenceHandle)member));
                break;
            default:
                _collector.Add(member);
                break;
        }
    }

    private void CollectReference(MemberReference reference)
    {
        _collector.Add(reference.Parent);
        if (reference.GetKind() == MemberReferenceKind.Method)
        {
            reference.DecodeMethodSignature(_collector, null);
        }
        else
        {
            reference.DecodeFieldSignature(_collector, null);
        }
    }

    private static OperandType?[] LoadOperandTypes(bool oneByte)
    {
        OperandType?[] table = new OperandType?[256];
        foreach (FieldInfo field in typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            OpCode code = (OpCode)field.GetValue(null)!;
            if (code.Size == 1 == oneByte)
            {
                table[code.Value & 0xFF] = code.OperandType;
            }
        }

        return table;
    }

    /// <summary>Notes every named type in a signature; the decoded value itself is of no interest.</summary>
    private sealed class TypeCollector(MetadataReader reader) : ISignatureTypeProvider<int, object?>
    {
        internal HashSet<(string Namespace, string Name)> Found { get; } = [];

        internal void Add(EntityHandle handle)
        {
            if (handle.IsNil)
            {
                return;
            }

            switch (handle.Kind)
            {
                case HandleKind.TypeDefinition:
                    Found.Add(NameOf((TypeDefinitionHandle)handle));
                    break;
                case HandleKind.TypeReference:
                    Found.Add(NameOf((TypeReferenceHandle)handle));
                    break;
                case HandleKind.TypeSpecification:
                    reader.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(this, null);
                    break;
                default:
                    break;
            }
        }

        internal (string Namespace, string Name) NameOf(TypeDefinitionHandle handle)
        {
            TypeDefinition type = reader.GetTypeDefinition(handle);
            while (type.IsNested)
            {
                type = reader.GetTypeDefinition(type.GetDeclaringType());
            }

            return (reader.GetString(type.Namespace), reader.GetString(type.Name));
        }

        private (string Namespace, string Name) NameOf(TypeReferenceHandle handle)
        {
            TypeReference type = reader.GetTypeReference(handle);
            while (type.ResolutionScope.Kind == HandleKind.TypeReference)
            {
                type = reader.GetTypeReference((TypeReferenceHandle)type.ResolutionScope);
            }

            return (reader.GetString(type.Namespace), reader.GetString(type.Name));
        }

        public int GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind)
        {
            Add(handle);
            return 0;
        }

        public int GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind)
        {
            Add(handle);
            return 0;
        }

        public int GetTypeFromSpecification(
            MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind)
        {
            Add(handle);
            return 0;
        }

        public int GetArrayType(int elementType, ArrayShape shape) => 0;

        public int GetByReferenceType(int elementType) => 0;

        public int GetFunctionPointerType(MethodSignature<int> signature) => 0;

        public int GetGenericInstantiation(int genericType, ImmutableArray<int> typeArguments) => 0;

        public int GetGenericMethodParameter(object? genericContext, int index) => 0;

        public int GetGenericTypeParameter(object? genericContext, int index) => 0;

        public int GetModifiedType(int modifier, int unmodifiedType, bool isRequired) => 0;

        public int GetPinnedType(int elementType) => 0;

        public int GetPointerType(int elementType) => 0;

        public int GetPrimitiveType(PrimitiveTypeCode typeCode) => 0;

        public int GetSZArrayType(int elementType) => 0;
    }
}
