declare module 'virtual:sentences' {
  const sentences: [english: string, german: string][];
  export default sentences;
}
